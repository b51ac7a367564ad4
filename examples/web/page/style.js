// What drawings need of the page: colours that follow its theme, and canvases as sharp as the screen.

/// The colour of a name in page.css.
export function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/// Calls back when the theme changes, or the size of an element; once before the browser draws again.
export function onNewLook(element, draw) {
    let waits = false;
    const soon = () => {
        if (waits) return;
        waits = true;
        requestAnimationFrame(() => {
            waits = false;
            draw();
        });
    };
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
    new ResizeObserver(soon).observe(element);
}

/// The context of a canvas whose pixels are those of the screen, in units of the page, and its size.
export function sharp(canvas) {
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const pixels = [width, height].map((length) => Math.max(1, Math.round(length * devicePixelRatio)));
    if (canvas.width !== pixels[0] || canvas.height !== pixels[1]) [canvas.width, canvas.height] = pixels;
    const context = canvas.getContext("2d");
    context.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
    context.clearRect(0, 0, width, height);
    return { context, width, height };
}

/// The next time that the browser draws; none comes while the page is out of sight.
export function nextFrame() {
    return new Promise(requestAnimationFrame);
}

/// A number of three digits, or of two with a power of ten.
export function short(number) {
    if (!Number.isFinite(number)) return "–";
    const size = Math.abs(number);
    const plain = size === 0 || (size >= 1e-3 && size < 1e5);
    if (plain) return number.toLocaleString("en", { maximumSignificantDigits: 3 }).replace("-", "−");
    const [digits, power] = number.toExponential(1).replace(".0e", "e").split("e");
    const raised = [...power.replace("+", "")].map((digit) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(digit)]).join("");
    return digits === "1" ? `10${raised}` : `${digits.replace("-", "−")}·10${raised}`;
}

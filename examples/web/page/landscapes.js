// Optimizers that walk on a surface from one point, each with its dimer.

import { colour, nextFrame, onNewLook, sharp, short } from "./style.js";

/// Steps after which a walk is over.
const STEPS = 500;

/// Numbers that tell of an optimizer: x, y, energy, slope and N.
const ROW = 6;

/// Half of a drawn dimer in pixels.
const HALF = 14;

/// By how much an arrow key moves the start, as a share of the surface.
const MOVE = 0.02;

export function showLandscapes(dimer, device) {
    const find = (id) => document.getElementById(id);
    const [canvas, chosen, speed, walk, again] = ["landscape", "scene", "speed", "walk", "again"].map(find);
    const { scenes, optimizers, events } = JSON.parse(dimer.landscapes());
    chosen.append(...scenes.map((scene, i) => new Option(scene.name, i)));
    const cells = optimizers.map((name, i) => {
        const row = find("walkers").insertRow();
        row.innerHTML = `<th scope="row" style="--colour: var(--walker-${i})"></th><td></td><td></td>`;
        row.cells[0].textContent = name;
        return row.cells;
    });
    let scene = scenes[0];
    let start = scene.start;
    // Of each optimizer, its way and the dimers on it.
    let paths = [];
    let steps = 0;
    let picture = null;
    let run = 0;
    // Whether a walk is under way, and whether it stands still.
    let walks = false;
    let paused = matchMedia("(prefers-reduced-motion: reduce)").matches;

    const size = () => [canvas.clientWidth, canvas.clientHeight];
    const toPage = ([x, y]) => {
        const [width, height] = size();
        const share = (value, [from, to]) => (value - from) / (to - from);
        return [width * share(x, scene.x), height * (1 - share(y, scene.y))];
    };

    function draw() {
        const { context, width, height } = sharp(canvas);
        if (width === 0) return;
        context.drawImage((picture ??= shaded(dimer, chosen.selectedIndex, scene, canvas)), 0, 0, width, height);
        const stroke = (points, lineWidth, alpha) => {
            context.lineWidth = lineWidth;
            context.globalAlpha = alpha;
            context.beginPath();
            points.forEach(([x, y]) => context.lineTo(x, y));
            context.stroke();
        };
        context.font = "bold 12px system-ui, sans-serif";
        context.textAlign = "center";
        context.textBaseline = "middle";
        const [x, y] = toPage(start);
        context.strokeStyle = colour("text");
        stroke([[x - 7, y], [x + 7, y]], 2, 1);
        stroke([[x, y - 7], [x, y + 7]], 2, 1);
        paths.forEach(({ points, dimers }, i) => {
            context.strokeStyle = context.fillStyle = colour(`walker-${i}`);
            stroke(points.map(toPage), 2, 0.9);
            dimers.forEach((bar) => drawDimer(bar, 1, 0.35));
            const last = points.at(-1);
            if (!last) return;
            if (last.n) drawDimer({ at: last, n: last.n }, 3, 1);
            context.globalAlpha = 1;
            const place = toPage(last);
            disc(place, 9);
            context.fillStyle = colour("on-walker");
            context.fillText(i + 1, place[0], place[1] + 0.5);
        });
        context.globalAlpha = 1;

        function drawDimer({ at, n }, lineWidth, alpha) {
            const [x, y] = toPage(at);
            const [dx, dy] = [HALF * n[0], -HALF * n[1]];
            stroke([[x - dx, y - dy], [x + dx, y + dy]], lineWidth, alpha);
            disc([x - dx, y - dy], lineWidth);
            disc([x + dx, y + dy], lineWidth);
        }

        function disc([x, y], radius) {
            context.beginPath();
            context.arc(x, y, radius, 0, 2 * Math.PI);
            context.fill();
        }
    }

    function take(rows) {
        paths.forEach(({ points, dimers }, i) => {
            const [x, y, energy, slope, ...n] = rows.subarray(ROW * i, ROW * (i + 1));
            const at = [x, y];
            if (Number.isFinite(n[0])) {
                at.n = n;
                if (steps % events === 0) dimers.push({ at, n });
            }
            points.push(at);
            cells[i][1].textContent = short(energy);
            cells[i][2].textContent = short(slope);
        });
        tell();
    }

    function tell() {
        const end = steps >= STEPS ? ", the end of this walk" : "";
        const what = steps > 0 ? `Step ${steps}${end}` : paused ? "Not started" : "Compiling the kernels …";
        find("walked").textContent = what;
        walk.textContent = walks && !paused ? "Pause" : steps > 0 && walks ? "Go on" : "Start";
    }

    async function begin() {
        const mine = ++run;
        steps = 0;
        walks = true;
        paths = optimizers.map(() => ({ points: [[...start]], dimers: [] }));
        cells.forEach((row) => (row[1].textContent = row[2].textContent = "–"));
        find("landscape-error").textContent = "";
        tell();
        draw();
        let walkers = null;
        try {
            walkers = new dimer.Landscape(device, chosen.selectedIndex, ...start);
            let due = 1;
            let last = performance.now();
            while (mine === run && steps < STEPS) {
                await nextFrame();
                const now = performance.now();
                if (!paused) due = Math.min(due + ((now - last) / 1000) * speed.value, 4);
                last = now;
                // One by one, so that ways and dimers are whole.
                for (; due >= 1 && !paused && mine === run; due -= 1) {
                    const rows = await walkers.step();
                    if (mine !== run) break;
                    steps += 1;
                    take(rows);
                }
                if (mine === run && !paused) draw();
            }
        } catch (error) {
            if (mine === run) find("landscape-error").textContent = error.message;
        } finally {
            walkers?.free();
        }
        if (mine !== run) return;
        walks = false;
        tell();
        draw();
    }

    function pause(whether) {
        paused = whether;
        tell();
    }

    function place(x, y) {
        const within = (value, [from, to]) => Math.min(Math.max(value, from), to);
        start = [within(x, scene.x), within(y, scene.y)];
    }

    function drop(event) {
        const { left, top } = canvas.getBoundingClientRect();
        const [width, height] = size();
        const value = (share, [from, to]) => from + (to - from) * share;
        place(
            value((event.clientX - left - canvas.clientLeft) / width, scene.x),
            value(1 - (event.clientY - top - canvas.clientTop) / height, scene.y),
        );
        pause(false);
        begin();
    }

    function steer(event) {
        const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] }[event.key];
        if (step) {
            const [width, height] = [scene.x, scene.y].map(([from, to]) => to - from);
            place(start[0] + MOVE * width * step[0], start[1] + MOVE * height * step[1]);
            find("start").textContent = `Start at ${start.map(short).join(", ")}`;
            draw();
        } else if (event.key === "Enter") {
            pause(false);
            begin();
        } else {
            return;
        }
        event.preventDefault();
    }

    function choose() {
        scene = scenes[chosen.selectedIndex];
        start = scene.start;
        picture = null;
        const [width, height] = [scene.x, scene.y].map(([from, to]) => to - from);
        canvas.style.aspectRatio = `${width} / ${height}`;
        begin();
    }

    onNewLook(canvas, () => {
        picture = null;
        draw();
    });
    canvas.addEventListener("click", drop);
    canvas.addEventListener("keydown", steer);
    chosen.addEventListener("change", choose);
    walk.addEventListener("click", () => {
        pause(walks && !paused);
        if (!walks) begin();
    });
    again.addEventListener("click", () => {
        pause(false);
        begin();
    });
    const tellSpeed = () => (find("speed-value").textContent = speed.value);
    speed.addEventListener("input", tellSpeed);
    tellSpeed();
    choose();
}

/// A picture of the heights, in bands with lines between them.
function shaded(dimer, index, scene, { width, height }) {
    const heights = dimer.heights(index, width, height);
    const bands = new Uint8Array(heights.length);
    for (const level of scene.levels) {
        for (let i = 0; i < heights.length; i += 1) bands[i] += heights[i] >= level;
    }
    const [low, high, line] = ["low", "high", "contour"].map(channels);
    const picture = new OffscreenCanvas(width, height);
    const context = picture.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = new Uint32Array(image.data.buffer);
    // A pixel as a number: red is its lowest byte, since browsers run on little-endian machines.
    const packed = ([red, green, blue]) => (255 << 24) | (blue << 16) | (green << 8) | red;
    const palette = [0, ...scene.levels].map((_, band) => {
        const share = band / scene.levels.length;
        return packed(low.map((value, i) => Math.round(value + share * (high[i] - value))));
    });
    for (let i = 0; i < bands.length; i += 1) {
        const isRight = (i + 1) % width !== 0 && bands[i] !== bands[i + 1];
        const isBelow = i + width < bands.length && bands[i] !== bands[i + width];
        pixels[i] = isRight || isBelow ? packed(line) : palette[bands[i]];
    }
    context.putImageData(image, 0, 0);
    return picture;
}

/// Red, green and blue of a colour of the page.
function channels(name) {
    return colour(name).match(/[0-9a-f]{2}/g).map((digits) => parseInt(digits, 16));
}

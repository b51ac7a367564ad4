// A curve over the steps of a run.

import { colour, onNewLook, sharp, short } from "./style.js";

const LEFT = 56;
const BOTTOM = 22;

export class Chart {
    /// `logarithmic` for values above zero.
    constructor(canvas, { logarithmic = false, range = null }) {
        Object.assign(this, { canvas, logarithmic, range });
        this.clear();
        onNewLook(canvas, () => this.draw());
    }

    clear() {
        this.points = [];
        this.steps = 0;
        this.draw();
    }

    /// Takes in a value; what is not a number is left out.
    push(step, value) {
        this.steps = Math.max(this.steps, step);
        if (!Number.isFinite(value) || (this.logarithmic && value <= 0)) return;
        this.points.push([step, value]);
    }

    draw() {
        const { context, width, height } = sharp(this.canvas);
        if (width === 0) return;
        const last = this.points.at(-1);
        this.canvas.setAttribute("aria-label", last ? `${short(last[1])} at step ${last[0]}` : "no values yet");
        const place = this.logarithmic ? Math.log10 : (value) => value;
        const values = this.points.map((point) => place(point[1]));
        let [low, high] = this.range ?? [Math.min(...values), Math.max(...values)];
        if (!(low <= high)) [low, high] = [0, 1];
        const room = this.range ? 0 : Math.max(0.05 * (high - low), this.logarithmic ? 0.1 : 1e-3 * Math.abs(high), 1e-9);
        [low, high] = [low - room, high + room];
        const steps = Math.max(this.steps, 10);
        const x = (step) => LEFT + ((width - LEFT - 8) * step) / steps;
        const y = (at) => 8 + ((height - BOTTOM - 8) * (high - at)) / (high - low);
        context.font = "12px system-ui, sans-serif";
        context.fillStyle = colour("quiet");
        context.strokeStyle = colour("grid");
        context.lineWidth = 1;
        context.textAlign = "right";
        context.textBaseline = "middle";
        const ticks = this.logarithmic ? decades(low, high) : even(low, high, 4);
        for (const tick of values.length > 0 || this.range ? ticks : []) {
            context.beginPath();
            context.moveTo(LEFT, y(tick));
            context.lineTo(width - 8, y(tick));
            context.stroke();
            context.fillText(short(this.logarithmic ? 10 ** tick : tick), LEFT - 8, y(tick));
        }
        context.textAlign = "center";
        context.textBaseline = "alphabetic";
        for (const tick of even(0, steps, Math.max(2, Math.floor(width / 110)))) {
            context.fillText(String(tick), Math.min(x(tick), width - 16), height - 6);
        }
        context.strokeStyle = colour("curve");
        context.lineWidth = 1.5;
        context.lineJoin = "round";
        context.beginPath();
        this.points.forEach(([step], i) => context.lineTo(x(step), y(values[i])));
        context.stroke();
    }
}

/// About `count` round numbers in a range.
function even(low, high, count) {
    const rough = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((step) => step >= rough);
    const ticks = [];
    for (let i = Math.ceil(low / step); i * step <= high; i += 1) ticks.push(Number((i * step).toPrecision(12)));
    return ticks;
}

/// Logarithms of round numbers.
function decades(low, high) {
    const parts = high - low < 1.5 ? [1, 2, 5] : [1];
    const every = Math.ceil((high - low) / 5);
    const ticks = [];
    for (let power = Math.floor(low); power <= high; power += 1) {
        if (power % every === 0) ticks.push(...parts.map((part) => power + Math.log10(part)));
    }
    return ticks.filter((tick) => tick >= low && tick <= high);
}

// The digits network in training.

import { Chart } from "./chart.js";
import { nextFrame, short } from "./style.js";

/// Numbers that tell of a step: its index, loss, learning rate and sharpness.
const ROW = 4;

/// How long a call should take, in milliseconds; and most steps of one.
const CALL = 80;
const MOST_STEPS = 64;

export function showTraining(dimer, device) {
    const find = (id) => document.getElementById(id);
    const [base, kind, rate, seed, train, restart] = ["base", "kind", "rate", "seed", "train", "restart"].map(find);
    const charts = {
        loss: new Chart(find("loss"), { logarithmic: true }),
        accuracy: new Chart(find("accuracy"), { range: [0, 1] }),
        rate: new Chart(find("learning-rate"), { logarithmic: true }),
        sharpness: new Chart(find("sharpness"), {}),
    };
    let run = 0;
    let started = false;
    let paused = false;

    async function begin() {
        const mine = ++run;
        started = true;
        pause(false);
        restart.disabled = false;
        Object.values(charts).forEach((chart) => chart.clear());
        find("training-error").textContent = "";
        find("trained").textContent = "Compiling the kernels …";
        const found = { step: 0, loss: NaN, rate: NaN, sharpness: NaN };
        let training = null;
        try {
            const start = Math.max(0, Math.floor(Number(seed.value)) || 0);
            training = new dimer.Training(device, base.value, kind.value === "curvature", Number(rate.value), start);
            let [steps, speed] = [1, NaN];
            while (mine === run) {
                await nextFrame();
                if (paused || mine !== run) continue;
                const began = performance.now();
                const rows = await training.advance(steps);
                if (mine !== run) break;
                const time = performance.now() - began;
                for (let i = 0; i < rows.length; i += ROW) {
                    const [step, loss, rate, sharpness] = rows.subarray(i, i + ROW);
                    charts.loss.push(step, loss);
                    charts.rate.push(step, rate);
                    charts.sharpness.push(step, sharpness);
                    Object.assign(found, { step: step + 1, loss, rate });
                    if (Number.isFinite(sharpness)) found.sharpness = sharpness;
                }
                const [answered, share] = training.accuracy();
                charts.accuracy.push(answered, share);
                if (rows.length > 0) {
                    // A call that compiles tells nothing of the speed.
                    const now = (1000 * rows.length) / ROW / time;
                    speed = Number.isNaN(speed) || now > 2 * speed ? now : 0.9 * speed + 0.1 * now;
                    steps = Math.min(Math.max(Math.round((steps * CALL) / time), 1), 2 * steps, MOST_STEPS);
                }
                Object.values(charts).forEach((chart) => chart.draw());
                find("trained").textContent = [
                    `step ${found.step}`,
                    `loss ${short(found.loss)}`,
                    `right answers ${short(100 * share)} %`,
                    `learning rate ${short(found.rate)}`,
                    `sharpness ${short(found.sharpness)}`,
                    `${Math.round(speed)} steps per second`,
                ].join(" · ");
                // The last call only brings the last answers.
                if (rows.length === 0) {
                    ended();
                    break;
                }
            }
        } catch (error) {
            if (mine === run) {
                find("training-error").textContent = error.message;
                ended();
            }
        } finally {
            training?.free();
        }
    }

    function ended() {
        started = false;
        train.textContent = "Start";
    }

    function pause(whether) {
        paused = whether;
        train.textContent = paused ? "Go on" : "Pause";
    }

    train.addEventListener("click", () => (started ? pause(!paused) : begin()));
    restart.addEventListener("click", begin);
    for (const setting of [base, kind, rate, seed]) {
        setting.addEventListener("change", () => {
            if (started) begin();
        });
    }
}

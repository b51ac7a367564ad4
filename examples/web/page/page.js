// Opens the GPU, and brings the panels to life.

import init, * as dimer from "./dimer_web.js";
import { showCheck } from "./check.js";
import { open } from "./gpu.js";
import { showLandscapes } from "./landscapes.js";
import { showTraining } from "./training.js";

const MISSING = `This browser offers no WebGPU to this page. Current versions of Chrome, Edge and Safari have it on most
systems, and those of Firefox on some. The page must have come by https or from localhost.`;

const told = document.getElementById("device");

function fail(message) {
    told.textContent = message;
    told.className = "error";
}

// After a panic in WebAssembly no call ever answers.
addEventListener("error", (event) => fail(`The page has stopped: ${event.message}`));

try {
    if (!navigator.gpu) throw new Error(MISSING);
    await init();
    const device = await open(dimer);
    told.textContent = `Running on ${device.name()}.`;
    document.querySelector("main").hidden = false;
    showLandscapes(dimer, device);
    showTraining(dimer, device);
    showCheck();
} catch (error) {
    fail(error.message);
}

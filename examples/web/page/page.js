// Opens the GPU, and brings the panels to life.

import init, * as dimer from "./dimer_web.js";
import { showCheck } from "./check.js";
import { open } from "./gpu.js";
import { showLandscapes } from "./landscapes.js";
import { showTraining } from "./training.js";

const MISSING = `This browser offers no WebGPU to this page. Chrome and Edge have it from version 113, Safari from 26, and
Firefox from 141 on Windows and 145 on macOS. It needs a page that came by https or from localhost.`;

const told = document.getElementById("device");
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
    told.textContent = error.message;
    told.className = "error";
}

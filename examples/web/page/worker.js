// Runs the checks on a device of its own.

import init, * as dimer from "./dimer_web.js";
import { open } from "./gpu.js";

try {
    await init();
    const told = (what, done, all, soFar) => postMessage({ what, done, all, soFar });
    const { markdown, passes } = await dimer.check(await open(dimer), told);
    postMessage({ markdown, passes });
} catch (error) {
    postMessage({ error: error.message });
}

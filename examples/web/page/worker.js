// Runs the checks on a device of its own.

import init, * as dimer from "./dimer_web.js";
import { open } from "./gpu.js";

// A panic says itself on the console, and then nothing ever answers.
console.error = (...words) => postMessage({ error: words.join(" ") });

try {
    await init();
    const report = await dimer.check(await open(dimer), (what, done, all) => postMessage({ what, done, all }));
    postMessage({ report });
} catch (error) {
    postMessage({ error: error.message });
}

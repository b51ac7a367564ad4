// Runs the page in headless Chromium: node run.mjs FOLDER LOSSES, where LOSSES has those of the same program outside a
// browser, on the same driver.
import { readFileSync } from "node:fs";
import { launch, serve } from "./chromium.mjs";

// Largest relative difference between the losses in the browser and outside.
const AGREE = 1e-6;

// Longest that a call may take.
const SECONDS = 400;

const [folder, losses] = process.argv.slice(2);
const server = await serve(folder);
const browser = await launch();
let failures = 0;
function fail(...words) {
    failures += 1;
    console.error("FAILED:", ...words);
}
try {
    const page = await browser.newPage();
    page.setDefaultTimeout(0);
    const said = [];
    page.on("console", (message) => said.push(`${message.type()}: ${message.text()}`));
    // After a panic no call ever answers.
    const panic = new Promise((_, broken) => {
        page.on("pageerror", (error) => broken(new Error(`${error}: ${said}`)));
        page.on("crash", () => broken(new Error("the page crashed")));
    });
    panic.catch(() => {});
    await page.goto(server.address);
    const call = async (name) => {
        const began = Date.now();
        const deadline = new Promise((_, late) => setTimeout(late, SECONDS * 1000, new Error("no answer")));
        const answer = page.evaluate(async (name) => {
            await window.ready;
            return { found: await window.dimer[name]() };
        }, name);
        const result = await Promise.race([answer, panic, deadline]).catch((error) => ({ error: String(error) }));
        console.log(`${name}: ${((Date.now() - began) / 1000).toFixed(1)} s`);
        if (result.error) fail(name, result.error);
        return result.found;
    };
    console.log(`Chromium ${browser.version()}, ${await call("adapter")}`);
    const outside = JSON.parse(readFileSync(losses, "utf8"));
    const inside = Object.values((await call("training")) ?? {});
    if (inside.length !== outside.length) fail(`${inside.length} losses of ${outside.length}`);
    const difference = (loss, step) => Math.abs(loss - outside[step]) / outside[step];
    const worst = Math.max(...inside.map(difference));
    console.log(`loss ${inside[0]} to ${inside.at(-1)}, at most ${worst.toExponential(1)} from that outside`);
    if (!(worst <= AGREE) || !(inside.at(-1) < 0.5 * inside[0])) fail("the losses", inside, outside);
    if (!(await call("checkpoint"))) fail("a step after a checkpoint differs");
    if (said.length > 0) fail("the console said", said);
    const errors = { refused: /refused the work/, lost: /device was lost/ };
    for (const [name, expected] of Object.entries(errors)) {
        const error = await call(name);
        console.log(error);
        if (!expected.test(error)) fail("an error was lost:", name);
    }
} finally {
    await browser.close();
    server.close();
}
process.exit(failures > 0 ? 1 : 0);

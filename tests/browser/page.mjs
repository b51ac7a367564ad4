// Uses the page of examples/web as a visitor would: node page.mjs FOLDER PICTURES [PARTS], the second for screenshots; PARTS
// are names of functions below.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { launch, serve } from "./chromium.mjs";

// Longest that a wait may take: a software renderer compiles for minutes.
const timeout = 400_000;

const [folder, pictures, ...chosen] = process.argv.slice(2);
mkdirSync(pictures, { recursive: true });
const server = await serve(folder);
const browser = await launch();
const began = Date.now();
const say = (...words) => console.log(`${((Date.now() - began) / 1000).toFixed(0)} s:`, ...words);

async function open(settings = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...settings });
    const page = await context.newPage();
    page.setDefaultTimeout(timeout);
    page.said = [];
    page.on("console", (message) => page.said.push(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => page.said.push(String(error)));
    return page;
}

// What `short` of the page has made of a number.
function number(text) {
    const [digits, power] = text.replace("−", "-").replace(",", "").split(/·?10(?=[⁻⁰¹²³⁴⁵⁶⁷⁸⁹])/);
    if (power === undefined) return Number(digits);
    const exponent = [...power].map((digit) => "-0123456789"["⁻⁰¹²³⁴⁵⁶⁷⁸⁹".indexOf(digit)]).join("");
    return Number(`${digits || 1}e${exponent}`);
}

// The walkers' energies by name.
async function energies(page) {
    const rows = await page.locator("#walkers tr").evaluateAll((rows) => rows.map((row) => [...row.cells].map((it) => it.textContent)));
    return Object.fromEntries(rows.map(([name, energy]) => [name, number(energy)]));
}

const walked = (page, steps) =>
    page.waitForFunction((steps) => Number(/\d+/.exec(document.querySelector("#walked").textContent)?.[0]) >= steps, steps);

const trained = (page, steps) =>
    page.waitForFunction((steps) => Number(/step (\d+)/.exec(document.querySelector("#trained").textContent)?.[1]) >= steps, steps);

const lossOf = async (page) => number(/loss (\S+)/.exec(await page.locator("#trained").textContent())[1]);

async function landscapes(page) {
    await walked(page, 60);
    const found = await energies(page);
    say("walkers", found);
    assert(found["DEO, saddle-free"] < -0.8, "the saddle-free step leaves the saddle");
    assert(Math.abs(found.climb) < 0.2, "the climb goes to the saddle");
    await page.click("#walk");
    // A step may be under way.
    await page.waitForTimeout(500);
    const at = await page.locator("#walked").textContent();
    await page.waitForTimeout(500);
    assert.equal(await page.locator("#walked").textContent(), at, "a pause is a pause");
    // A click starts there, every surface works, and so do the keys.
    for (const scene of ["1", "2"]) {
        await page.selectOption("#scene", scene);
        await page.locator("#landscape").click({ position: { x: 200, y: 150 } });
        await page.waitForFunction(() => !document.querySelector("#walked").textContent.startsWith("Step"));
        await walked(page, 20);
        assert(Object.values(await energies(page)).every(Number.isFinite));
    }
    await page.locator("#speed").fill("60");
    await page.locator("#landscape").focus();
    for (const key of ["ArrowLeft", "ArrowUp", "Enter"]) await page.keyboard.press(key);
    await walked(page, 20);
    await page.click("#walk");
    assert.equal(await page.locator("#walk").textContent(), "Go on");
}

async function training(page) {
    await page.click("#train");
    await trained(page, 1);
    const first = await lossOf(page);
    await trained(page, 200);
    const last = await lossOf(page);
    say(await page.locator("#trained").textContent());
    assert(last < 0.5 * first, `${last} is not below half of ${first}`);
    await page.click("#train");
    // Every choice begins anew.
    for (const [base, kind, rate] of [["Lion", "fixed", "1e-3"], ["SGD", "curvature", "1e-6"], ["Adam", "curvature", "1e-2"]]) {
        await page.selectOption("#base", base);
        await page.selectOption("#kind", kind);
        await page.selectOption("#rate", rate);
        await page.click("#restart");
        await trained(page, 30);
        assert(Number.isFinite(await lossOf(page)));
    }
    say(await page.locator("#trained").textContent());
    await page.selectOption("#base", "AdamW");
    await page.selectOption("#rate", "1e-3");
    await page.click("#restart");
    await trained(page, 200);
    await page.click("#train");
}

async function check(page) {
    await page.click("#check");
    await page.waitForFunction(() => document.querySelector("#check-error").textContent || !document.querySelector("#copy").disabled);
    say(await page.locator("#checked").textContent(), await page.locator("#check-error").textContent());
    assert.equal(await page.locator("#checked").textContent(), "All checks passed.");
    assert((await page.locator("#report tr").count()) > 20);
    await page.click("#copy");
    await page.waitForFunction(() => document.querySelector("#copy").textContent === "Copied");
    const report = await page.evaluate(() => navigator.clipboard.readText());
    assert(report.includes("| unfused / fused |") && report.includes("**All checks passed.**"));
}

// Everything that can be used, in the order of the tab key.
async function keyboard(page) {
    await page.evaluate(() => {
        const first = document.querySelector("h1");
        first.tabIndex = -1;
        first.focus();
        first.removeAttribute("tabindex");
    });
    const reached = [];
    for (let i = 0; i < 30; i += 1) {
        await page.keyboard.press("Tab");
        const id = await page.evaluate(() => document.activeElement.id);
        if (!id || reached.includes(id)) break;
        reached.push(id);
    }
    const parts = ["landscape", "scene", "speed", "walk", "again", "base", "kind", "rate", "seed", "train", "restart", "check", "copy", "report"];
    assert.deepEqual(reached, parts);
    // And a button by the key.
    await page.locator("#walk").focus();
    const before = await page.locator("#walk").textContent();
    await page.keyboard.press("Space");
    assert.notEqual(await page.locator("#walk").textContent(), before);
    await page.keyboard.press("Space");
}

async function looks(page) {
    for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        for (const width of [1280, 861, 768, 390, 320]) {
            await page.setViewportSize({ width, height: 900 });
            await page.waitForTimeout(300);
            const wide = await page.evaluate(() => document.documentElement.scrollWidth);
            assert(wide <= width, `${wide} pixels at ${width}`);
            await page.screenshot({ path: join(pictures, `${colorScheme}-${width}.png`), fullPage: true });
        }
    }
}

try {
    const page = await open({ permissions: ["clipboard-read", "clipboard-write"] });
    await page.goto(server.address);
    await page.waitForSelector("main:not([hidden])");
    say(await page.locator("#device").textContent());
    assert.match(await page.locator("#device").textContent(), /SwiftShader/i);
    for (const part of [landscapes, training, check, keyboard, looks]) {
        if (chosen.length > 0 && !chosen.includes(part.name)) continue;
        await part(page);
        assert.deepEqual(page.said, [], "the console is empty");
        say(part.name, "done");
    }
    // Where there is no WebGPU, and where it has no adapter.
    for (const [name, script, expected] of [
        ["no-webgpu", "Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined })", /offers no WebGPU/],
        ["no-adapter", "GPU.prototype.requestAdapter = async () => null", /no usable GPU adapter/],
    ]) {
        const other = await open();
        await other.addInitScript(script);
        await other.goto(server.address);
        await other.waitForSelector("#device.error");
        const told = await other.locator("#device").textContent();
        say(told);
        assert.match(told, expected);
        await other.screenshot({ path: join(pictures, `${name}.png`) });
        assert.deepEqual(other.said, []);
    }
} finally {
    await browser.close();
    server.close();
}

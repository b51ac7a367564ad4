// Compiles the shaders in FOLDER, as src/tests/portable.rs leaves them, with Tint, the compiler of Chromium, which
// the npm package `webgpu` brings along: every module, and every pipeline of pipelines.json.
//
// usage: node tint.mjs FOLDER [BACKEND]      (from where `webgpu` is installed; BACKEND is `null`, `vulkan` ...)
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, backend = 'null'] = process.argv.slice(2);
const require = createRequire(path.join(process.cwd(), 'here'));
const { create, globals } = await import(pathToFileURL(require.resolve('webgpu')));
Object.assign(globalThis, globals);

const gpu = create([`backend=${backend}`]); // Kept, or it would be gone while its device is in use.
const adapter = await gpu.requestAdapter();
if (!adapter) throw new Error(`no adapter of the backend ${backend}`);
const wanted = ['maxStorageBuffersPerShaderStage', 'maxComputeWorkgroupSizeX', 'maxComputeInvocationsPerWorkgroup'];
const requiredLimits = Object.fromEntries(wanted.map((limit) => [limit, adapter.limits[limit]]));
const device = await adapter.requestDevice({ requiredFeatures: ['subgroups'], requiredLimits });

const problems = [];
const modules = new Map();
const declared = new Map(); // Storage buffers.
for (const name of fs.readdirSync(path.join(folder, 'wgsl')).sort()) {
    const code = fs.readFileSync(path.join(folder, 'wgsl', name), 'utf8');
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code });
    for (const { type, lineNum, message } of (await module.getCompilationInfo()).messages) {
        problems.push(`${name}:${lineNum}: ${type}: ${message}`);
    }
    await device.popErrorScope();
    modules.set(name, module);
    declared.set(name, code.match(/var<storage/g).length);
}

let beyond = 0;
const pipelines = JSON.parse(fs.readFileSync(path.join(folder, 'pipelines.json'), 'utf8'));
for (const { module, constants } of pipelines) {
    const compute = { module: modules.get(module), entryPoint: 'main', constants };
    try {
        await device.createComputePipelineAsync({ layout: 'auto', compute });
    } catch (error) {
        if (declared.get(module) > adapter.limits.maxStorageBuffersPerShaderStage) beyond += 1;
        else problems.push(`${module} with ${JSON.stringify(constants)}: ${error.message}`);
    }
}

for (const problem of problems) console.error(problem);
const taken = pipelines.length - beyond;
console.log(
    `Tint: ${modules.size} modules and ${taken} pipelines on ${adapter.info.description || backend}, ` +
        `${problems.length} problems; ${beyond} pipelines need more storage buffers than it has`,
);
process.exit(problems.length > 0 || modules.size < 272 || taken < 200 ? 1 : 0);

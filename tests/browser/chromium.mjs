// Headless Chromium on SwiftShader, and a server of files.
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { extname, join } from "node:path";
import { chromium } from "playwright-core";

const TYPES = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".wasm": "application/wasm" };

/// Serves a folder on a free port of this machine.
export async function serve(folder) {
    const server = createServer((request, response) => {
        const path = new URL(request.url, "http://localhost").pathname;
        try {
            const body = readFileSync(join(folder, path === "/" ? "index.html" : path));
            response.writeHead(200, { "content-type": TYPES[extname(path)] ?? "text/html" }).end(body);
        } catch {
            response.writeHead(path === "/favicon.ico" ? 204 : 404).end();
        }
    });
    await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
    return { address: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

export function launch() {
    return chromium.launch({
        executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
        args: ["--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"],
    });
}

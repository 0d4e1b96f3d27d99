// Bundles the page into one folder, and records which files of onnxruntime-web it runs on, with their hashes.
//
//     npm install --ignore-scripts
//     npm run build
//
// The bundle stays readable: whoever serves the page can see that it sends nothing.

import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as esbuild from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];
if (!out) throw new Error("usage: node build.mjs FOLDER");

// The library, the program that starts the WebAssembly, and the WebAssembly: for processors, and for GPUs.
const RUNTIME_FILES = [
  "ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm",
  "ort.jspi.min.mjs", "ort-wasm-simd-threaded.jspi.mjs", "ort-wasm-simd-threaded.jspi.wasm",
];

function describeRuntime() {
  const dist = dirname(createRequire(import.meta.url).resolve("onnxruntime-web"));
  const { version } = JSON.parse(readFileSync(join(dist, "..", "package.json"), "utf8"));
  const hash = (name) => createHash("sha256").update(readFileSync(join(dist, name))).digest("hex");
  return { package: "onnxruntime-web", version, files: Object.fromEntries(RUNTIME_FILES.map((name) => [name, hash(name)])) };
}

mkdirSync(out, { recursive: true });
await esbuild.build({
  absWorkingDir: here,
  entryPoints: ["src/page.ts", "src/worker.ts", "src/isolation.ts"],
  outdir: join(process.cwd(), out),
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  logLevel: "warning",
});
for (const name of ["index.html", "style.css"]) copyFileSync(join(here, "src", name), join(out, name));
writeFileSync(join(out, "runtime.json"), JSON.stringify(describeRuntime(), null, 2) + "\n");

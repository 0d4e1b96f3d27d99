// The output of an ONNX file in onnxruntime-web (WebAssembly), for bench_int8_cpus.py.
//
//     node int8_cpus.mjs FOLDER_OF_NODE_MODULES MODEL.onnx IMAGE.f32 HEIGHT WIDTH OUTPUT.f32

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const [modules, model, image, height, width, target] = process.argv.slice(2);
const ort = createRequire(join(resolve(modules), "from-here.js"))("onnxruntime-web");
ort.env.logLevel = "fatal";
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(readFileSync(model));
const pixels = new Float32Array(new Uint8Array(readFileSync(image)).buffer);
const found = await session.run({ image: new ort.Tensor("float32", pixels, [1, 3, Number(height), Number(width)]) });
const { data } = found[session.outputNames[0]];
writeFileSync(target, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));

// One session of ONNX Runtime in a worker. WebAssembly never gives memory back; ending the worker does.

import { countClasses, upsampledMask } from "./masks";
import type { ModelInfo, Size } from "./model";
import { Resizer, workingSize } from "./resizing";

export type Backend = "wasm" | "webgpu";

export interface Start {
  kind: "start";
  backend: Backend;
  threads: number;
  model: ArrayBuffer;
  info: ModelInfo;
}

export interface Run {
  kind: "run";
  image: ImageBitmap;
  detail: number; // share of the working size, 1 as `segnet predict`
}

export interface Segmented {
  kind: "segmented";
  image: ImageBitmap; // the one that was given, to be shown with its mask
  mask: Uint8Array<ArrayBuffer>;
  size: Size;
  counts: number[]; // pixels of each class
  milliseconds: number;
}

export type Answer = { kind: "ready" } | Segmented | { kind: "failed"; reason: string };

const LIBRARIES = { wasm: "ort.wasm.min.mjs", webgpu: "ort.jspi.min.mjs" };
const PIXELS_PER_STRIP = 4_000_000;

// As much of onnxruntime-web as is used here. It is loaded at run time, as it was released.
interface Tensor {
  data: Float32Array;
  dispose(): void;
}
interface Session {
  run(feeds: Record<string, Tensor>, outputs: string[]): Promise<Record<string, Tensor>>;
}
interface Library {
  env: { logLevel: string; wasm: { numThreads: number; wasmPaths: string } };
  InferenceSession: { create(model: ArrayBuffer, options: { executionProviders: string[]; logSeverityLevel: 0 | 1 | 2 | 3 | 4 }): Promise<Session> };
  Tensor: new (type: "float32", data: Float32Array, dims: number[]) => Tensor;
}

let library: Library;
let session: Session;
let info: ModelInfo;

self.onmessage = async ({ data }: MessageEvent<Start | Run>) => {
  try {
    if (data.kind === "start") {
      await start(data);
      answer({ kind: "ready" });
    } else {
      const segmented = await segment(data);
      answer(segmented, [segmented.image, segmented.mask.buffer]);
    }
  } catch (error) {
    answer({ kind: "failed", reason: String(error instanceof Error ? error.message : error).split("\n")[0] });
  }
};

function answer(message: Answer, transferred: Transferable[] = []): void {
  self.postMessage(message, { transfer: transferred });
}

async function start({ backend, threads, model, info: given }: Start): Promise<void> {
  info = given;
  library = (await import(new URL(LIBRARIES[backend], self.location.href).href)) as Library;
  library.env.logLevel = "fatal"; // errors are shown once, by the page
  library.env.wasm.numThreads = threads;
  library.env.wasm.wasmPaths = new URL("./", self.location.href).href;
  session = await library.InferenceSession.create(model, { executionProviders: [backend], logSeverityLevel: 4 });
}

async function segment({ image, detail }: Run): Promise<Segmented> {
  const started = performance.now();
  const size = { height: image.height, width: image.width };
  const working = workingSize(size, info.resize, detail);
  const input = new library.Tensor("float32", readPixels(image, size, working), [1, info.channels, working.height, working.width]);
  const { logits } = await session.run({ image: input }, ["logits"]);
  const mask = upsampledMask(logits.data, info.names.length, working, size);
  logits.dispose();
  const counts = countClasses(mask, info.names.length);
  return { kind: "segmented", image, mask, size, counts, milliseconds: performance.now() - started };
}

/** The model's input, read in strips: some browsers limit the area of a canvas. */
function readPixels(image: ImageBitmap, size: Size, working: Size): Float32Array {
  const resizer = new Resizer(size, working, info.channels);
  const step = Math.max(1, Math.min(size.height, Math.floor(PIXELS_PER_STRIP / size.width)));
  const canvas = new OffscreenCanvas(size.width, step);
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  for (let top = 0; top < size.height; top += step) {
    const rows = Math.min(step, size.height - top);
    context.clearRect(0, 0, size.width, rows);
    context.drawImage(image, 0, top, size.width, rows, 0, 0, size.width, rows);
    resizer.add(context.getImageData(0, 0, size.width, rows).data, rows);
  }
  return resizer.finish();
}

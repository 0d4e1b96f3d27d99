// Starts sessions in workers, times them on the packaged image, and keeps the faster.

import { agreement } from "./masks";
import { UserError, type ModelInfo } from "./model";
import type { Answer, Backend, Run, Segmented, Start } from "./worker";

const MOST_THREADS = 8;
const TIMED_RUNS = 3;
const TIMED_MS = 1000; // after which no further run is timed
const START_LIMIT_MS = 15_000; // of a second backend, for a GPU in software
const LEAST_AGREEMENT = 0.999; // of a GPU's mask with that of the processor

export interface Timing {
  backend: Backend;
  milliseconds: number;
}

export interface Choice {
  session: Session;
  timings: Timing[];
  remarks: string[]; // why a backend was not used
}

interface Waiting {
  resolve: (answer: Segmented | null) => void;
  reject: (error: Error) => void;
}

export class Session {
  private readonly worker = new Worker("worker.js", { type: "module" });
  private waiting: Waiting | null = null;
  private over = false;

  constructor(readonly backend: Backend, readonly threads: number) {
    this.worker.onmessage = ({ data }: MessageEvent<Answer>) => this.receive(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.fail(event.message || "the worker could not be started");
    };
  }

  async load(model: ArrayBuffer, info: ModelInfo): Promise<void> {
    await this.send({ kind: "start", backend: this.backend, threads: this.threads, model, info });
  }

  /** Does what uses this session; ends the session if that fails, or takes longer than so many milliseconds. */
  async within<Result>(limit: number, action: () => Promise<Result>): Promise<Result> {
    const timer = limit < Infinity ? setTimeout(() => this.end(`it took more than ${limit / 1000} s`), limit) : undefined;
    try {
      return await action();
    } catch (error) {
      this.end();
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Segments one image; `image` is given away, and comes back in the answer. */
  async segment(image: ImageBitmap, detail = 1): Promise<Segmented> {
    return (await this.send({ kind: "run", image, detail }, [image]))!;
  }

  /** Ends the worker, which frees all of its memory; a run in progress fails. */
  end(reason = "the session was ended"): void {
    this.over = true;
    this.worker.terminate();
    this.fail(reason);
  }

  private send(message: Start | Run, transferred: Transferable[] = []): Promise<Segmented | null> {
    if (this.over) return Promise.reject(new UserError("the session was ended"));
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.worker.postMessage(message, transferred);
    });
  }

  private receive(answer: Answer): void {
    if (answer.kind === "failed") this.fail(answer.reason);
    else this.settle((waiting) => waiting.resolve(answer.kind === "segmented" ? answer : null));
  }

  private fail(reason: string): void {
    this.settle((waiting) => waiting.reject(new UserError(reason)));
  }

  private settle(how: (waiting: Waiting) => void): void {
    const waiting = this.waiting;
    this.waiting = null;
    if (waiting) how(waiting);
  }
}

/** How many threads WebAssembly gets. Several need shared memory, which only an isolated page has. */
export function threadCount(wanted: number | null): number {
  if (!self.crossOriginIsolated) return 1;
  return Math.max(1, wanted ?? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1));
}

export async function chooseSession(
  model: ArrayBuffer, info: ModelInfo, sample: () => Promise<ImageBitmap>,
  wanted: { threads: number | null; backend: Backend | null }, say: (stage: string) => void,
): Promise<Choice> {
  const remarks: string[] = [];
  const tried: { session: Session; mask: Uint8Array; timing: Timing }[] = [];
  for (const backend of ["wasm", "webgpu"] as const) {
    const obstacle = wanted.backend && wanted.backend !== backend ? "not asked for" : await obstacleTo(backend);
    if (obstacle) {
      if (obstacle !== "not asked for") remarks.push(obstacle);
      continue;
    }
    say(`timing ${nameOf(backend)}`);
    try {
      const session = new Session(backend, threadCount(wanted.threads));
      const limit = tried.length ? START_LIMIT_MS : Infinity;
      tried.push({ session, ...(await session.within(limit, () => startAndTime(session, model, info, sample))) });
    } catch (error) {
      remarks.push(`${nameOf(backend)} failed: ${(error as Error).message}`);
    }
  }
  if (!tried.length) throw new UserError(`the model cannot run in this browser: ${remarks.join("; ")}`);
  const exact = tried.filter(({ mask }) => agreement(mask, tried[0].mask) >= LEAST_AGREEMENT);
  if (exact.length < tried.length) remarks.push("WebGPU predicts other classes here than the processor");
  const fastest = exact.reduce((best, one) => (one.timing.milliseconds < best.timing.milliseconds ? one : best));
  for (const { session } of tried) if (session !== fastest.session) session.end();
  return { session: fastest.session, timings: tried.map(({ timing }) => timing), remarks };
}

export function nameOf(backend: Backend): string {
  return backend === "wasm" ? "WebAssembly" : "WebGPU";
}

/** Loads the model, and takes the median of a few runs on the packaged image, after one that allocates. */
async function startAndTime(
  session: Session, model: ArrayBuffer, info: ModelInfo, sample: () => Promise<ImageBitmap>,
): Promise<{ mask: Uint8Array; timing: Timing }> {
  await session.load(model, info);
  const first = await session.segment(await sample());
  first.image.close();
  const durations: number[] = [];
  for (let sum = 0; durations.length < TIMED_RUNS && sum < TIMED_MS; sum += durations.at(-1)!) {
    const { image, milliseconds } = await session.segment(await sample());
    image.close();
    durations.push(milliseconds);
  }
  durations.sort((a, b) => a - b);
  return { mask: first.mask, timing: { backend: session.backend, milliseconds: durations[durations.length >> 1] } };
}

interface Gpu {
  requestAdapter(): Promise<object | null>;
}

/** Why a backend cannot be used in this browser; empty if it can. */
async function obstacleTo(backend: Backend): Promise<string> {
  if (backend === "wasm") return "";
  const gpu = (navigator as Navigator & { gpu?: Gpu }).gpu;
  if (!gpu) return "This browser has no WebGPU";
  // The GPU's library waits for the GPU in the middle of WebAssembly.
  if (!("Suspending" in WebAssembly)) return "This browser's WebAssembly cannot wait for WebGPU";
  return (await gpu.requestAdapter().catch(() => null)) ? "" : "WebGPU finds no GPU";
}

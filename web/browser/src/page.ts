// The page: loads the model, chooses where it runs, and connects buttons, files, camera and keyboard with it.

import { chooseSession, nameOf, threadCount, type Session } from "./engine";
import { decodeImage, isVideo } from "./files";
import { fetchFile, loadInfo, loadModel, UserError, type ModelInfo } from "./model";
import { Player } from "./player";
import { element, View } from "./view";
import type { Backend, Segmented } from "./worker";

const SOURCES = ["open", "camera", "sample"];
const ISOLATION_LIMIT_MS = 3000;

class Page {
  private session: Session | null = null;
  private model: ArrayBuffer | null = null;
  private readonly view: View;
  private readonly player: Player;
  private queue: Promise<unknown> = Promise.resolve(); // one image at a time
  private attempts = 0; // of the visitor, to show something; only the newest one counts

  constructor(private readonly info: ModelInfo) {
    this.view = new View(info);
    this.player = new Player((frame) => this.segment(frame), showError);
    element("model").textContent = info.name;
    document.title = `${info.name}: semantic segmentation in your browser`;
    this.connect();
  }

  /** Loads the model if that is still to do, and starts the faster session. */
  async start(): Promise<void> {
    clearError();
    this.enable(false, "End session");
    try {
      this.model ??= await loadModel(this.info, (share) => say(`Loading the model: ${Math.round(100 * share)} %`));
      const wanted = readAddress();
      const choice = await chooseSession(this.model, this.info, loadSample, wanted, (stage) => say(`Starting: ${stage}`));
      this.session = choice.session;
      say(`Ready. The model runs by ${describe(choice.session)}.`);
      const timed = choice.timings.map((one) => `${nameOf(one.backend)} ${one.milliseconds.toFixed(0)} ms`).join(", ");
      const remarks = [threadRemark(), ...choice.remarks].filter(Boolean).map((remark) => ` ${remark}.`);
      element("speed").textContent = `Time for the example image: ${timed}.${remarks.join("")}`;
      this.enable(true, "End session");
    } catch (error) {
      say("The model does not run.");
      showError(error);
      this.enable(false, "Start session");
    }
  }

  private end(): void {
    this.attempts++;
    this.player.stop();
    this.session?.end();
    this.session = null;
    element("speed").textContent = "";
    say("The session was ended, and its memory was freed.");
    this.enable(false, "Start session");
  }

  /** Segments an image and shows it. */
  private segment(image: ImageBitmap): Promise<Segmented> {
    const session = this.session;
    const run = this.queue.then(async () => {
      if (!session) throw new UserError("no session runs; press Start session");
      const segmented = await session.segment(image, Number(element<HTMLSelectElement>("detail").value));
      this.view.show(segmented);
      return segmented;
    });
    this.queue = run.catch(() => undefined);
    return run;
  }

  private connect(): void {
    const input = element<HTMLInputElement>("file");
    element("open").addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      void this.openFile(input.files?.[0]);
      input.value = "";
    });
    element("camera").addEventListener("click", () => void this.attempt(() => this.openCamera()));
    element("sample").addEventListener("click", () => void this.attempt((isNewest) => this.showImage("Example", loadSample, isNewest)));
    element("session").addEventListener("click", () => void (this.session ? this.end() : this.start()));
    this.acceptDrops();
    addEventListener("paste", (event) => {
      const file = event.clipboardData?.files[0];
      if (file) void this.openFile(file);
    });
  }

  private acceptDrops(): void {
    const mark = (on: boolean) => element("stage").classList.toggle("target", on);
    addEventListener("dragover", (event) => {
      event.preventDefault();
      mark(true);
    });
    addEventListener("dragleave", () => mark(false));
    addEventListener("drop", (event) => {
      event.preventDefault();
      mark(false);
      void this.openFile(event.dataTransfer?.files[0]);
    });
  }

  private openFile(file: File | undefined): Promise<void> {
    return this.attempt(async (isNewest) => {
      if (!file) throw new UserError("no file was given; drop an image or a video, not text or a link");
      if (!this.session) throw new UserError("no session runs yet; wait for it, or press Start session");
      if (!(await isVideo(file))) await this.showImage(file.name, () => decodeImage(file), isNewest);
      else if (isNewest() && (await this.player.openVideo(file))) say(`${file.name} plays by ${describe(this.session)}.`);
    });
  }

  private async openCamera(): Promise<void> {
    if (await this.player.openCamera()) say(`The camera runs by ${describe(this.session!)}.`);
  }

  private async showImage(name: string, load: () => Promise<ImageBitmap>, isNewest: () => boolean): Promise<void> {
    const image = await load();
    if (!isNewest()) return image.close();
    this.player.stop();
    say(`${name}: the model runs.`);
    const { size, milliseconds } = await this.segment(image);
    if (isNewest()) say(`${name}, ${size.width}x${size.height}, took ${milliseconds.toFixed(0)} ms by ${describe(this.session!)}.`);
  }

  /** Does what the visitor asked for, and shows why it failed. What a newer attempt or the end of the session overtook shows nothing. */
  private async attempt(action: (isNewest: () => boolean) => Promise<void>): Promise<void> {
    const attempt = ++this.attempts;
    const isNewest = () => attempt === this.attempts;
    clearError();
    try {
      await action(isNewest);
    } catch (error) {
      if (!isNewest()) return;
      if (this.session) say(`Ready. The model runs by ${describe(this.session)}.`);
      showError(error);
    }
  }

  private enable(running: boolean, session: string): void {
    for (const id of SOURCES) element<HTMLButtonElement>(id).disabled = !running;
    const button = element<HTMLButtonElement>("session");
    button.textContent = session;
    button.disabled = !running && session === "End session";
  }
}

function say(text: string): void {
  element("status").textContent = text;
}

function showError(error: unknown): void {
  const box = element("error");
  const text = error instanceof Error ? error.message : String(error);
  box.textContent = text + (text.endsWith(".") ? "" : ".");
  box.hidden = false;
}

function clearError(): void {
  element("error").hidden = true;
}

function describe({ backend, threads }: Session): string {
  if (backend === "webgpu") return "WebGPU";
  return `WebAssembly with ${threads} thread${threads === 1 ? "" : "s"}`;
}

function threadRemark(): string {
  if (threadCount(null) > 1 || navigator.hardwareConcurrency === 1) return "";
  return self.crossOriginIsolated ? "" : "One thread only, since this server does not isolate the page";
}

async function loadSample(): Promise<ImageBitmap> {
  const response = await fetchFile("sample.jpg");
  return decodeImage(new File([await response.blob()], "sample.jpg"));
}

/** ?threads=2 and ?backend=wasm or webgpu overrule the page's choice, for measurements. */
function readAddress(): { threads: number | null; backend: Backend | null } {
  const given = new URLSearchParams(location.search);
  const threads = Number(given.get("threads"));
  const backend = given.get("backend");
  return {
    threads: Number.isInteger(threads) && threads > 0 ? threads : null,
    backend: backend === "wasm" || backend === "webgpu" ? backend : null,
  };
}

/** Isolates the page by a service worker where the server does not, and loads it again, once. */
async function isolate(): Promise<boolean> {
  if (self.crossOriginIsolated || !isSecureContext || !navigator.serviceWorker || sessionStorage.getItem("isolated")) return false;
  sessionStorage.setItem("isolated", "tried");
  try {
    await navigator.serviceWorker.register("isolation.js", { type: "module" });
    const late = new Promise((_, reject) => setTimeout(reject, ISOLATION_LIMIT_MS));
    await Promise.race([navigator.serviceWorker.ready, late]);
    location.reload();
    return true;
  } catch {
    return false; // one thread, then
  }
}

async function main(): Promise<void> {
  if (await isolate()) return;
  try {
    await new Page(await loadInfo()).start();
  } catch (error) {
    say("The page cannot start.");
    showError(error);
  }
}

void main();

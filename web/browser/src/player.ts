// Frames of a camera or a video: the newest one is segmented whenever the session is free; the others are skipped.

import { UserError } from "./model";
import { element } from "./view";
import type { Segmented } from "./worker";

const RATE_WINDOW = 2000; // ms over which frames are counted

export class Player {
  private readonly video = document.createElement("video");
  private readonly seek = element<HTMLInputElement>("seek");
  private readonly play = element<HTMLButtonElement>("play");
  private url: string | null = null;
  private turn = 0; // of the loop that runs; a loop of another turn ends
  private finished: number[] = []; // times of the frames of the last seconds

  /**
   * @param segment segments a frame and shows it.
   * @param fail shows why a loop ended.
   */
  constructor(private readonly segment: (frame: ImageBitmap) => Promise<Segmented>, private readonly fail: (error: unknown) => void) {
    this.video.muted = true;
    this.video.playsInline = true;
    this.video.loop = true;
    this.play.addEventListener("click", () => void (this.video.paused ? this.video.play() : this.video.pause()));
    for (const name of ["play", "pause"])
      this.video.addEventListener(name, () => (this.play.textContent = this.video.paused ? "Play" : "Pause"));
    this.seek.addEventListener("input", () => (this.video.currentTime = Number(this.seek.value) * (this.video.duration || 0)));
    this.video.addEventListener("timeupdate", () => (this.seek.value = String(this.video.currentTime / (this.video.duration || 1))));
  }

  /** Plays a video file; false if another source was chosen meanwhile. */
  async openVideo(file: File): Promise<boolean> {
    this.stop();
    this.url = URL.createObjectURL(file);
    this.video.src = this.url;
    const reason = `${file.name} cannot be played by this browser; convert it to MP4 (H.264) or WebM`;
    const plays = await this.begin(() => new UserError(reason));
    if (plays) element("player").hidden = false;
    return plays;
  }

  /** Plays the camera; false if another source was chosen while the visitor was asked for permission. */
  async openCamera(): Promise<boolean> {
    this.stop();
    const turn = this.turn;
    if (!navigator.mediaDevices) throw new UserError("browsers give the camera to pages on https or localhost only; serve this page there");
    let stream: MediaStream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } } });
    } catch (error) {
      throw new UserError(cameraFault(error as DOMException));
    }
    if (turn !== this.turn) {
      release(stream);
      return false;
    }
    this.video.srcObject = stream;
    stream.getVideoTracks()[0].addEventListener("ended", () => this.lose());
    return this.begin(() => new UserError("the camera gives no frames; close other programs that use it"));
  }

  /** Ends the loop, and gives the camera back. */
  stop(): void {
    this.turn++;
    this.finished = [];
    this.video.pause();
    release(this.video.srcObject as MediaStream | null);
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    element("player").hidden = true;
    element("rate").textContent = "";
  }

  private lose(): void {
    this.stop();
    this.fail(new UserError("the camera was disconnected; plug it in, and press the button again"));
  }

  private async begin(explain: () => Error): Promise<boolean> {
    const turn = this.turn;
    try {
      await this.video.play();
    } catch {
      if (turn !== this.turn) return false;
      this.stop();
      throw explain();
    }
    if (turn !== this.turn) return false;
    void this.loop(turn);
    return true;
  }

  private async loop(turn: number): Promise<void> {
    let last = -1;
    try {
      while (turn === this.turn) {
        await nextPaint();
        if (turn !== this.turn || this.video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) continue;
        if (this.video.currentTime === last) {
          if (this.video.paused) this.finished = [];
          continue;
        }
        last = this.video.currentTime;
        await this.segment(await createImageBitmap(this.video));
        if (turn === this.turn) this.count();
      }
    } catch (error) {
      if (turn !== this.turn) return;
      this.stop();
      this.fail(error);
    }
  }

  private count(): void {
    const now = performance.now();
    const last = this.finished.length - 1; // counts even if it is old, on a slow machine
    this.finished = [...this.finished.filter((time, at) => at === last || now - time < RATE_WINDOW), now];
    const span = now - this.finished[0];
    if (span > 0) element("rate").textContent = `${((1000 * (this.finished.length - 1)) / span).toFixed(1)} frames/s`;
  }
}

function release(stream: MediaStream | null): void {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

function nextPaint(): Promise<void> {
  return new Promise((resolve) => requestAnimationFrame(() => resolve()));
}

function cameraFault({ name }: DOMException): string {
  if (name === "NotAllowedError") return "the camera was refused; allow it beside the address of this page, and press the button again";
  if (name === "NotFoundError") return "this machine has no camera; open an image or a video instead";
  return `the camera cannot be used (${name}); close other programs that use it`;
}

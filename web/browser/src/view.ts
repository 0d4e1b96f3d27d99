// The stage: image, class colors over it, the class under the pointer or the keyboard's cursor, and the legend.

import type { ModelInfo } from "./model";
import { maskPng } from "./png";
import type { Segmented } from "./worker";

const LONGEST_SIDE = 1920; // of the canvases; masks keep the size of their image
const STEP = 0.02; // of an arrow key, as a share of the side
const STILL_SPEECH = 1000; // ms between two announcements of classes while a video plays

export function element<E extends HTMLElement = HTMLElement>(id: string): E {
  return document.getElementById(id) as E;
}

export class View {
  private readonly stage = element("stage");
  private readonly image = element<HTMLCanvasElement>("image");
  private readonly overlay = element<HTMLCanvasElement>("overlay");
  private readonly cursor = element("cursor");
  private readonly rows: { row: HTMLElement; share: HTMLElement }[];
  private readonly colors: Uint32Array; // RGBA of each class, as one number
  private shown: Segmented | null = null;
  private point: { x: number; y: number } | null = null; // shares of width and height
  private lastText = 0;

  constructor(private readonly info: ModelInfo) {
    const bytes = Uint8ClampedArray.from(info.colors.flatMap((color) => [...color, 255]));
    this.colors = new Uint32Array(bytes.buffer);
    this.rows = info.names.map((name, index) => this.addRow(name, index));
    const opacity = element<HTMLInputElement>("opacity");
    opacity.addEventListener("input", () => this.setOpacity(Number(opacity.value)));
    this.setOpacity(Number(opacity.value)); // browsers keep it when the page is loaded again
    this.stage.addEventListener("pointermove", (event) => this.followPointer(event));
    this.stage.addEventListener("pointerdown", (event) => this.followPointer(event));
    this.stage.addEventListener("pointerleave", () => this.pointAt(null));
    this.stage.addEventListener("keydown", (event) => this.followKey(event));
    element("save-mask").addEventListener("click", () => void this.saveMask());
    element("save-overlay").addEventListener("click", () => void this.saveOverlay());
  }

  /** Shows an image with its mask; the image is kept until the next one comes. */
  show(segmented: Segmented): void {
    this.shown?.image.close();
    this.shown = segmented;
    const { image, size, counts } = segmented;
    const scale = Math.min(1, LONGEST_SIDE / Math.max(size.width, size.height));
    const [width, height] = [Math.max(1, Math.round(size.width * scale)), Math.max(1, Math.round(size.height * scale))];
    for (const canvas of [this.image, this.overlay])
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    this.stage.style.setProperty("--aspect", String(width / height));
    element("hint").hidden = true;
    this.image.getContext("2d")!.drawImage(image, 0, 0, width, height);
    this.overlay.getContext("2d")!.putImageData(this.colored(width, height), 0, 0);
    const area = size.width * size.height;
    counts.forEach((count, index) => (this.rows[index].share.textContent = `${((100 * count) / area).toFixed(1)} %`));
    for (const id of ["save-mask", "save-overlay"]) element<HTMLButtonElement>(id).disabled = false;
    this.describePoint(performance.now() - this.lastText > STILL_SPEECH);
  }

  private addRow(name: string, index: number): { row: HTMLElement; share: HTMLElement } {
    const row = document.createElement("li");
    const swatch = this.swatch(index);
    const [label, share] = [document.createElement("span"), document.createElement("span")];
    [label.className, share.className, label.textContent] = ["name", "share", name];
    row.append(swatch, label, share);
    element("legend").append(row);
    return { row, share };
  }

  private swatch(index: number): HTMLElement {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${this.info.colors[index].join(" ")})`;
    return swatch;
  }

  private setOpacity(percent: number): void {
    this.overlay.style.opacity = String(percent / 100);
    element("percent").textContent = `${percent} %`;
  }

  /** Class colors at the size of the canvas: of each of its pixels the class at its center. */
  private colored(width: number, height: number): ImageData {
    const { mask, size } = this.shown!;
    const pixels = new Uint32Array(width * height);
    for (let y = 0, at = 0; y < height; y++) {
      const row = Math.floor(((y + 0.5) * size.height) / height) * size.width;
      for (let x = 0; x < width; x++, at++) pixels[at] = this.colors[mask[row + Math.floor(((x + 0.5) * size.width) / width)]];
    }
    return new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
  }

  private followPointer(event: PointerEvent): void {
    const box = this.stage.getBoundingClientRect();
    this.cursor.hidden = true;
    this.pointAt({ x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
  }

  private followKey(event: KeyboardEvent): void {
    const steps: Record<string, [number, number]> = {
      ArrowLeft: [-STEP, 0], ArrowRight: [STEP, 0], ArrowUp: [0, -STEP], ArrowDown: [0, STEP],
    };
    const step = steps[event.key];
    if (!step || !this.shown) return;
    event.preventDefault();
    const from = this.point ?? { x: 0.5, y: 0.5 };
    const inside = (share: number) => Math.min(0.999, Math.max(0, share));
    const to = this.point ? { x: inside(from.x + step[0]), y: inside(from.y + step[1]) } : from;
    this.cursor.hidden = false;
    [this.cursor.style.left, this.cursor.style.top] = [`${100 * to.x}%`, `${100 * to.y}%`];
    this.pointAt(to);
  }

  private pointAt(point: { x: number; y: number } | null): void {
    if (!point && !this.cursor.hidden) return; // the keyboard's cursor stays where it is
    this.point = point;
    this.describePoint(true);
  }

  private describePoint(say: boolean): void {
    if (!this.shown) return;
    const index = this.classAtPoint();
    this.rows.forEach(({ row }, at) => row.classList.toggle("pointed", at === index));
    if (!say) return;
    this.lastText = performance.now();
    const text = element("pixel");
    if (index === null) text.textContent = "Point at the image to read the class of a pixel.";
    else text.replaceChildren(this.swatch(index), ` ${this.info.names[index]}`);
  }

  private classAtPoint(): number | null {
    if (!this.point || !this.shown) return null;
    const { mask, size } = this.shown;
    const [x, y] = [Math.floor(this.point.x * size.width), Math.floor(this.point.y * size.height)];
    const isInside = x >= 0 && y >= 0 && x < size.width && y < size.height;
    return isInside ? mask[y * size.width + x] : null;
  }

  private async saveMask(): Promise<void> {
    const { mask, size } = this.shown!;
    save(await maskPng(mask, size, this.info), "mask.png");
  }

  private async saveOverlay(): Promise<void> {
    const canvas = new OffscreenCanvas(this.image.width, this.image.height);
    const context = canvas.getContext("2d")!;
    context.drawImage(this.image, 0, 0);
    context.globalAlpha = Number(this.overlay.style.opacity);
    context.drawImage(this.overlay, 0, 0);
    save(await canvas.convertToBlob(), "overlay.png");
  }
}

function save(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

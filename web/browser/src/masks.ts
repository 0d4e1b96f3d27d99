// From logits to the class of each pixel of the image, as segnet/inference/upsampling.py: probabilities are interpolated,
// then the class is chosen. Between four pixels of one class there is nothing to interpolate.

import type { Size } from "./model";

const MIXED = 255; // no class has this number

/** Logits (classes, height, width) to the class of each pixel, the first of equals. */
export function argmax(logits: Float32Array, classes: number): Uint8Array<ArrayBuffer> {
  const area = logits.length / classes;
  const best = logits.slice(0, area);
  const mask = new Uint8Array(area);
  for (let index = 1; index < classes; index++)
    for (let pixel = 0, at = index * area; pixel < area; pixel++, at++)
      if (logits[at] > best[pixel]) {
        best[pixel] = logits[at];
        mask[pixel] = index;
      }
  return mask;
}

/** The mask of an image whose logits were computed at another size. */
export function upsampledMask(logits: Float32Array, classes: number, from: Size, to: Size): Uint8Array<ArrayBuffer> {
  const mask = argmax(logits, classes);
  if (from.height === to.height && from.width === to.width) return mask;
  const cells = sharedClasses(mask, from);
  const corners = new Corners(logits, classes);
  const down = neighbors(from.height, to.height);
  const across = neighbors(from.width, to.width);
  const result = new Uint8Array(to.height * to.width);
  for (let y = 0, at = 0; y < to.height; y++) {
    const upper = down.low[y] * from.width;
    const lower = down.high[y] * from.width;
    for (let x = 0; x < to.width; x++, at++) {
      const cell = cells[upper + across.low[x]];
      result[at] = cell !== MIXED ? cell : corners.classBetween(
        upper + across.low[x], upper + across.high[x], lower + across.low[x], lower + across.high[x],
        across.share[x], down.share[y],
      );
    }
  }
  return result;
}

/** How many pixels each class has. */
export function countClasses(mask: Uint8Array, classes: number): number[] {
  const counts = new Array<number>(classes).fill(0);
  for (const index of mask) counts[index]++;
  return counts;
}

/** Share of the pixels with the same class. */
export function agreement(first: Uint8Array, second: Uint8Array): number {
  let same = 0;
  for (let pixel = 0; pixel < first.length; pixel++) if (first[pixel] === second[pixel]) same++;
  return same / first.length;
}

/** The class that a pixel shares with its right, lower and lower right neighbors; MIXED if they differ. */
function sharedClasses(mask: Uint8Array, { height, width }: Size): Uint8Array {
  const cells = new Uint8Array(mask.length);
  for (let y = 0, at = 0; y < height; y++) {
    const below = y + 1 < height ? width : 0;
    for (let x = 0; x < width; x++, at++) {
      const right = x + 1 < width ? 1 : 0;
      const here = mask[at];
      const same = here === mask[at + right] && here === mask[at + below] && here === mask[at + below + right];
      cells[at] = same ? here : MIXED;
    }
  }
  return cells;
}

interface Neighbors {
  low: Int32Array;
  high: Int32Array;
  share: Float32Array;
}

/** The two old pixels that each new one lies between, and its distance from the first. */
function neighbors(length: number, newLength: number): Neighbors {
  const found = { low: new Int32Array(newLength), high: new Int32Array(newLength), share: new Float32Array(newLength) };
  for (let index = 0; index < newLength; index++) {
    const at = Math.min(length - 1, Math.max(0, (index + 0.5) * (length / newLength) - 0.5));
    found.low[index] = Math.floor(at);
    found.high[index] = Math.min(found.low[index] + 1, length - 1);
    found.share[index] = at - found.low[index];
  }
  return found;
}

/** Probabilities of the pixels that are asked for, computed once each. */
class Corners {
  private readonly area: number;
  private readonly probabilities: Float32Array; // (pixels, classes)
  private readonly known: Uint8Array;

  constructor(private readonly logits: Float32Array, private readonly classes: number) {
    this.area = logits.length / classes;
    this.probabilities = new Float32Array(logits.length);
    this.known = new Uint8Array(this.area);
  }

  classBetween(a: number, b: number, c: number, d: number, across: number, down: number): number {
    const { classes, probabilities } = this;
    const [first, second, third, fourth] = [this.start(a), this.start(b), this.start(c), this.start(d)];
    let best = -1;
    let found = 0;
    for (let index = 0; index < classes; index++) {
      const upper = mix(probabilities[first + index], probabilities[second + index], across);
      const lower = mix(probabilities[third + index], probabilities[fourth + index], across);
      const value = mix(upper, lower, down);
      if (value > best) [best, found] = [value, index];
    }
    return found;
  }

  /** Where the probabilities of a pixel begin. */
  private start(pixel: number): number {
    const start = pixel * this.classes;
    if (!this.known[pixel]) this.softmax(pixel, start);
    return start;
  }

  private softmax(pixel: number, start: number): void {
    const { area, classes, logits, probabilities } = this;
    let largest = -Infinity;
    for (let index = 0; index < classes; index++) largest = Math.max(largest, logits[index * area + pixel]);
    let sum = 0;
    for (let index = 0; index < classes; index++)
      sum += probabilities[start + index] = Math.exp(logits[index * area + pixel] - largest);
    for (let index = 0; index < classes; index++) probabilities[start + index] /= sum;
    this.known[pixel] = 1;
  }
}

function mix(first: number, second: number, share: number): number {
  return Math.fround(first + Math.fround((second - first) * share));
}

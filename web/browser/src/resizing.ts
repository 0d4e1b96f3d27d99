// Resizing as `segnet predict` does it: the size of segnet/inference/working_size.py, and Pillow's bilinear filter with
// antialiasing in whole numbers (Resample.c), so that the model gets the same bytes.

import type { ResizeRule, Size } from "./model";

/** The size at which an image is segmented: that of `segnet predict`, times `detail`. */
export function workingSize(size: Size, rule: ResizeRule, detail = 1): Size {
  const { height, width } = fullSize(size, rule);
  if (detail === 1) return { height, width };
  return { height: Math.max(1, Math.round(height * detail)), width: Math.max(1, Math.round(width * detail)) };
}

function fullSize({ height, width }: Size, rule: ResizeRule): Size {
  if (rule.box && rule.stretch) return { height: rule.box[0], width: rule.box[1] };
  const scale = rule.box
    ? Math.min(rule.box[0] / height, rule.box[1] / width)
    : rule.max_size === null ? 1 : Math.min(1, rule.max_size / Math.max(height, width));
  return { height: Math.max(1, roundHalfEven(height * scale)), width: Math.max(1, roundHalfEven(width * scale)) };
}

/** As Python rounds: 0.5 to 0, 1.5 to 2, 2.5 to 2. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}

const PRECISION = 22; // bits after the point of a weight

interface Filter {
  first: Int32Array; // the first old pixel of each new one
  count: Int32Array; // how many old pixels it is made of
  weights: Int32Array; // `width` for each new pixel
  width: number;
}

function bilinearFilter(length: number, newLength: number): Filter {
  const scale = length / newLength;
  const support = Math.max(scale, 1);
  const width = Math.ceil(support) * 2 + 1;
  const filter = { first: new Int32Array(newLength), count: new Int32Array(newLength), weights: new Int32Array(newLength * width), width };
  for (let index = 0; index < newLength; index++) {
    const center = (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const count = Math.min(length, Math.trunc(center + support + 0.5)) - first;
    const shares = Array.from({ length: count }, (_, at) => Math.max(0, 1 - Math.abs((at + first - center + 0.5) / support)));
    const sum = shares.reduce((total, share) => total + share, 0);
    shares.forEach((share, at) => (filter.weights[index * width + at] = Math.trunc(0.5 + (share / sum) * 2 ** PRECISION)));
    filter.first[index] = first;
    filter.count[index] = count;
  }
  return filter;
}

/** Takes the rows of an image from top to bottom, as bytes per channel, and gives the model's input. */
export class Resizer {
  private readonly across: Filter | null;
  private readonly rows: Uint8Array; // (channels, height, new width)
  private next = 0;

  constructor(private readonly size: Size, private readonly to: Size, private readonly channels: number) {
    this.across = size.width === to.width ? null : bilinearFilter(size.width, to.width);
    this.rows = new Uint8Array(channels * size.height * to.width);
  }

  /** Adds rows of RGBA bytes. For a model of gray images they become Pillow's luma. */
  add(rgba: Uint8ClampedArray, count: number): void {
    const { width } = this.size;
    const row = new Uint8Array(width);
    for (let y = 0; y < count; y++, this.next++)
      for (let channel = 0; channel < this.channels; channel++) {
        for (let x = 0, at = 4 * y * width; x < width; x++, at += 4) row[x] = this.value(rgba, at, channel);
        this.writeRow(row, this.rows, (channel * this.size.height + this.next) * this.to.width);
      }
  }

  /** float32 (channels, new height, new width) in [0, 1]. */
  finish(): Float32Array {
    const { height, width } = this.to;
    const scaled = Float32Array.from({ length: 256 }, (_, byte) => byte / 255);
    const image = new Float32Array(this.channels * height * width);
    const down = this.size.height === height ? null : bilinearFilter(this.size.height, height);
    for (let channel = 0; channel < this.channels; channel++) {
      const plane = this.rows.subarray(channel * this.size.height * width, (channel + 1) * this.size.height * width);
      const target = image.subarray(channel * height * width, (channel + 1) * height * width);
      for (let y = 0; y < height; y++) {
        if (down) mixRows(plane, target, y, width, down, scaled);
        else for (let at = y * width; at < (y + 1) * width; at++) target[at] = scaled[plane[at]];
      }
    }
    return image;
  }

  private value(rgba: Uint8ClampedArray, at: number, channel: number): number {
    if (this.channels !== 1) return rgba[at + channel];
    return (rgba[at] * 19595 + rgba[at + 1] * 38470 + rgba[at + 2] * 7471 + 0x8000) >> 16;
  }

  private writeRow(row: Uint8Array, target: Uint8Array, at: number): void {
    if (!this.across) {
      target.set(row, at);
      return;
    }
    const { first, count, weights, width } = this.across;
    for (let x = 0; x < this.to.width; x++) {
      let sum = 1 << (PRECISION - 1);
      for (let tap = 0; tap < count[x]; tap++) sum += row[first[x] + tap] * weights[x * width + tap];
      target[at + x] = sum >> PRECISION;
    }
  }
}

function mixRows(plane: Uint8Array, target: Float32Array, y: number, width: number, down: Filter, scaled: Float32Array): void {
  for (let x = 0; x < width; x++) {
    let sum = 1 << (PRECISION - 1);
    for (let tap = 0; tap < down.count[y]; tap++)
      sum += plane[(down.first[y] + tap) * width + x] * down.weights[y * down.width + tap];
    target[y * width + x] = scaled[sum >> PRECISION];
  }
}

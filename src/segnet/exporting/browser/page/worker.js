// src/masks.ts
var MIXED = 255;
function argmax(logits, classes) {
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
function upsampledMask(logits, classes, from, to) {
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
        upper + across.low[x],
        upper + across.high[x],
        lower + across.low[x],
        lower + across.high[x],
        across.share[x],
        down.share[y]
      );
    }
  }
  return result;
}
function countClasses(mask, classes) {
  const counts = new Array(classes).fill(0);
  for (const index of mask) counts[index]++;
  return counts;
}
function sharedClasses(mask, { height, width }) {
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
function neighbors(length, newLength) {
  const found = { low: new Int32Array(newLength), high: new Int32Array(newLength), share: new Float32Array(newLength) };
  for (let index = 0; index < newLength; index++) {
    const at = Math.min(length - 1, Math.max(0, (index + 0.5) * (length / newLength) - 0.5));
    found.low[index] = Math.floor(at);
    found.high[index] = Math.min(found.low[index] + 1, length - 1);
    found.share[index] = at - found.low[index];
  }
  return found;
}
var Corners = class {
  constructor(logits, classes) {
    this.logits = logits;
    this.classes = classes;
    this.area = logits.length / classes;
    this.probabilities = new Float32Array(logits.length);
    this.known = new Uint8Array(this.area);
  }
  logits;
  classes;
  area;
  probabilities;
  // (pixels, classes)
  known;
  classBetween(a, b, c, d, across, down) {
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
  start(pixel) {
    const start2 = pixel * this.classes;
    if (!this.known[pixel]) this.softmax(pixel, start2);
    return start2;
  }
  softmax(pixel, start2) {
    const { area, classes, logits, probabilities } = this;
    let largest = -Infinity;
    for (let index = 0; index < classes; index++) largest = Math.max(largest, logits[index * area + pixel]);
    let sum = 0;
    for (let index = 0; index < classes; index++)
      sum += probabilities[start2 + index] = Math.exp(logits[index * area + pixel] - largest);
    for (let index = 0; index < classes; index++) probabilities[start2 + index] /= sum;
    this.known[pixel] = 1;
  }
};
function mix(first, second, share) {
  return Math.fround(first + Math.fround((second - first) * share));
}

// src/resizing.ts
function workingSize(size, rule, detail = 1) {
  const { height, width } = fullSize(size, rule);
  if (detail === 1) return { height, width };
  return { height: Math.max(1, Math.round(height * detail)), width: Math.max(1, Math.round(width * detail)) };
}
function fullSize({ height, width }, rule) {
  if (rule.box && rule.stretch) return { height: rule.box[0], width: rule.box[1] };
  const scale = rule.box ? Math.min(rule.box[0] / height, rule.box[1] / width) : rule.max_size === null ? 1 : Math.min(1, rule.max_size / Math.max(height, width));
  return { height: Math.max(1, roundHalfEven(height * scale)), width: Math.max(1, roundHalfEven(width * scale)) };
}
function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
var PRECISION = 22;
function bilinearFilter(length, newLength) {
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
    shares.forEach((share, at) => filter.weights[index * width + at] = Math.trunc(0.5 + share / sum * 2 ** PRECISION));
    filter.first[index] = first;
    filter.count[index] = count;
  }
  return filter;
}
var Resizer = class {
  constructor(size, to, channels) {
    this.size = size;
    this.to = to;
    this.channels = channels;
    this.across = size.width === to.width ? null : bilinearFilter(size.width, to.width);
    this.rows = new Uint8Array(channels * size.height * to.width);
  }
  size;
  to;
  channels;
  across;
  rows;
  // (channels, height, new width)
  next = 0;
  /** Adds rows of RGBA bytes. For a model of gray images they become Pillow's luma. */
  add(rgba, count) {
    const { width } = this.size;
    const row = new Uint8Array(width);
    for (let y = 0; y < count; y++, this.next++)
      for (let channel = 0; channel < this.channels; channel++) {
        for (let x = 0, at = 4 * y * width; x < width; x++, at += 4) row[x] = this.value(rgba, at, channel);
        this.writeRow(row, this.rows, (channel * this.size.height + this.next) * this.to.width);
      }
  }
  /** float32 (channels, new height, new width) in [0, 1]. */
  finish() {
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
  value(rgba, at, channel) {
    if (this.channels !== 1) return rgba[at + channel];
    return rgba[at] * 19595 + rgba[at + 1] * 38470 + rgba[at + 2] * 7471 + 32768 >> 16;
  }
  writeRow(row, target, at) {
    if (!this.across) {
      target.set(row, at);
      return;
    }
    const { first, count, weights, width } = this.across;
    for (let x = 0; x < this.to.width; x++) {
      let sum = 1 << PRECISION - 1;
      for (let tap = 0; tap < count[x]; tap++) sum += row[first[x] + tap] * weights[x * width + tap];
      target[at + x] = sum >> PRECISION;
    }
  }
};
function mixRows(plane, target, y, width, down, scaled) {
  for (let x = 0; x < width; x++) {
    let sum = 1 << PRECISION - 1;
    for (let tap = 0; tap < down.count[y]; tap++)
      sum += plane[(down.first[y] + tap) * width + x] * down.weights[y * down.width + tap];
    target[y * width + x] = scaled[sum >> PRECISION];
  }
}

// src/worker.ts
var LIBRARIES = { wasm: "ort.wasm.min.mjs", webgpu: "ort.jspi.min.mjs" };
var PIXELS_PER_STRIP = 4e6;
var library;
var session;
var info;
self.onmessage = async ({ data }) => {
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
function answer(message, transferred = []) {
  self.postMessage(message, { transfer: transferred });
}
async function start({ backend, threads, model, info: given }) {
  info = given;
  library = await import(new URL(LIBRARIES[backend], self.location.href).href);
  library.env.logLevel = "fatal";
  library.env.wasm.numThreads = threads;
  library.env.wasm.wasmPaths = new URL("./", self.location.href).href;
  session = await library.InferenceSession.create(model, { executionProviders: [backend], logSeverityLevel: 4 });
}
async function segment({ image, detail }) {
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
function readPixels(image, size, working) {
  const resizer = new Resizer(size, working, info.channels);
  const step = Math.max(1, Math.min(size.height, Math.floor(PIXELS_PER_STRIP / size.width)));
  const canvas = new OffscreenCanvas(size.width, step);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (let top = 0; top < size.height; top += step) {
    const rows = Math.min(step, size.height - top);
    context.clearRect(0, 0, size.width, rows);
    context.drawImage(image, 0, top, size.width, rows, 0, 0, size.width, rows);
    resizer.add(context.getImageData(0, 0, size.width, rows).data, rows);
  }
  return resizer.finish();
}

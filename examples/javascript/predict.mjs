// Segments an image with an ONNX file of `segnet export`.
//
//     npm install
//     node predict.mjs segnet_light.onnx photo.png mask.png
//
// onnxruntime-web computes in WebAssembly, here as in a browser; there `toTensor` takes the ImageData of a canvas.

import { readFileSync, writeFileSync } from "node:fs";
import * as ort from "onnxruntime-web";
import { PNG } from "pngjs";

// onnxruntime-web does not expose the metadata, but an ONNX file is a protobuf message, a sequence of fields. Field 14 of
// the model, metadata_props, occurs once per entry: a message of a key and a value.
function metadata(file) {
  const entries = fields(file).filter(({ number }) => number === 14);
  const texts = (entry) => fields(entry.bytes).map(({ bytes }) => new TextDecoder().decode(bytes));
  return Object.fromEntries(entries.map(texts));
}

// The fields of a message that are bytes; the others are numbers here, and skipped.
function fields(message) {
  const found = [];
  let at = 0;
  const readNumber = () => {
    let number = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[at++];
      number += (byte & 127) * scale;
      if (byte < 128 || byte === undefined) return number;
    }
  };
  while (at < message.length) {
    const tag = readNumber(); // number of the field * 8 + kind: 0 a number, 2 bytes
    const value = readNumber();
    if (tag % 8 === 2) found.push({ number: Math.floor(tag / 8), bytes: message.subarray(at, (at += value)) });
  }
  return found;
}

// RGBA bytes (H, W, 4) to float32 (1, 3, H, W), RGB in [0, 1].
function toTensor({ width, height, data }) {
  const area = width * height;
  const image = new Float32Array(3 * area);
  for (let pixel = 0; pixel < area; pixel++)
    for (let channel = 0; channel < 3; channel++) image[channel * area + pixel] = data[4 * pixel + channel] / 255;
  return new ort.Tensor("float32", image, [1, 3, height, width]);
}

// Logits (1, classes, H, W) to the class of each pixel.
function argmax({ data, dims: [, classes, height, width] }) {
  const area = height * width;
  const best = data.slice(0, area);
  const mask = new Uint8Array(area);
  for (let index = 1; index < classes; index++)
    for (let pixel = 0; pixel < area; pixel++)
      if (data[index * area + pixel] > best[pixel]) {
        best[pixel] = data[index * area + pixel];
        mask[pixel] = index;
      }
  return mask;
}

function writeMask(path, mask, { width, height }) {
  const png = new PNG({ width, height, colorType: 0, inputColorType: 0 }); // gray, its values are class indices
  png.data = Buffer.from(mask);
  writeFileSync(path, PNG.sync.write(png, { colorType: 0, inputColorType: 0 }));
}

function printShares(mask, names) {
  const counts = new Array(names.length).fill(0);
  for (const index of mask) counts[index]++;
  const order = [...names.keys()].sort((a, b) => counts[b] - counts[a]);
  for (const index of order)
    console.log(`${((100 * counts[index]) / mask.length).toFixed(1).padStart(5)}%  ${names[index]}`);
}

async function main(model, source, target) {
  const file = readFileSync(model);
  const info = metadata(file).segnet;
  if (!info) throw new Error(`${model}: has no class names in its metadata; use a file of 'segnet export'`);
  const image = PNG.sync.read(readFileSync(source));
  const session = await ort.InferenceSession.create(file);
  const { logits } = await session.run({ image: toTensor(image) }, ["logits"]);
  const mask = argmax(logits);
  writeMask(target, mask, image);
  printShares(mask, JSON.parse(info).labels.names);
}

try {
  if (process.argv.length !== 5) throw new Error("usage: node predict.mjs MODEL.onnx IMAGE.png MASK.png");
  ort.env.logLevel = "fatal"; // errors are printed once, below
  await main(...process.argv.slice(2));
} catch (error) {
  console.error(`predict.mjs: ${String(error.message ?? error).split("\n")[0]}`); // WebAssembly may throw a number
  process.exitCode = 1;
}

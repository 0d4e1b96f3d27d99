// src/masks.ts
function agreement(first, second) {
  let same = 0;
  for (let pixel = 0; pixel < first.length; pixel++) if (first[pixel] === second[pixel]) same++;
  return same / first.length;
}

// src/model.ts
var UserError = class extends Error {
};
var AGAIN = "make the folder again with 'segnet export --format browser'";
async function loadInfo() {
  const response = await fetchFile("model.json");
  try {
    const info = await response.json();
    if (info.names.length !== info.colors.length || typeof info.bytes !== "number") throw new TypeError();
    return info;
  } catch {
    throw new UserError(`model.json is damaged; ${AGAIN}`);
  }
}
async function loadModel(info, progress) {
  const response = await fetchFile(info.file);
  const bytes = await readAll(response, info.bytes, progress);
  if (bytes.byteLength !== info.bytes)
    throw new UserError(`${info.file} is damaged: it has ${bytes.byteLength} bytes instead of ${info.bytes}; ${AGAIN}`);
  if (crypto.subtle && await sha256(bytes) !== info.sha256)
    throw new UserError(`${info.file} is damaged: its content is not what was exported; ${AGAIN}`);
  return bytes;
}
async function fetchFile(name) {
  let response;
  try {
    response = await fetch(name);
  } catch {
    throw new UserError(`${name} cannot be loaded; check that the server of this page still runs`);
  }
  if (!response.ok) throw new UserError(`${name} is missing on the server (${response.status}); ${AGAIN}`);
  return response;
}
async function readAll(response, expected, progress) {
  const chunks = [];
  let length = 0;
  const reader = response.body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    chunks.push(part.value);
    length += part.value.length;
    progress(Math.min(1, length / expected));
  }
  return new Blob(chunks).arrayBuffer();
}
async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// src/engine.ts
var MOST_THREADS = 8;
var TIMED_RUNS = 3;
var TIMED_MS = 1e3;
var START_LIMIT_MS = 15e3;
var LEAST_AGREEMENT = 0.999;
var Session = class {
  constructor(backend, threads) {
    this.backend = backend;
    this.threads = threads;
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = (event) => {
      event.preventDefault();
      this.fail(event.message || "the worker could not be started");
    };
  }
  backend;
  threads;
  worker = new Worker("worker.js", { type: "module" });
  waiting = null;
  over = false;
  async load(model, info) {
    await this.send({ kind: "start", backend: this.backend, threads: this.threads, model, info });
  }
  /** Does what uses this session; ends the session if that fails, or takes longer than so many milliseconds. */
  async within(limit, action) {
    const timer = limit < Infinity ? setTimeout(() => this.end(`it took more than ${limit / 1e3} s`), limit) : void 0;
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
  async segment(image, detail = 1) {
    return await this.send({ kind: "run", image, detail }, [image]);
  }
  /** Ends the worker, which frees all of its memory; a run in progress fails. */
  end(reason = "the session was ended") {
    this.over = true;
    this.worker.terminate();
    this.fail(reason);
  }
  send(message, transferred = []) {
    if (this.over) return Promise.reject(new UserError("the session was ended"));
    return new Promise((resolve, reject) => {
      this.waiting = { resolve, reject };
      this.worker.postMessage(message, transferred);
    });
  }
  receive(answer) {
    if (answer.kind === "failed") this.fail(answer.reason);
    else this.settle((waiting) => waiting.resolve(answer.kind === "segmented" ? answer : null));
  }
  fail(reason) {
    this.settle((waiting) => waiting.reject(new UserError(reason)));
  }
  settle(how) {
    const waiting = this.waiting;
    this.waiting = null;
    if (waiting) how(waiting);
  }
};
function threadCount(wanted) {
  if (!self.crossOriginIsolated) return 1;
  return Math.max(1, wanted ?? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1));
}
async function chooseSession(model, info, sample, wanted, say2) {
  const remarks = [];
  const tried = [];
  for (const backend of ["wasm", "webgpu"]) {
    const obstacle = wanted.backend && wanted.backend !== backend ? "not asked for" : await obstacleTo(backend);
    if (obstacle) {
      if (obstacle !== "not asked for") remarks.push(obstacle);
      continue;
    }
    say2(`timing ${nameOf(backend)}`);
    try {
      const session = new Session(backend, threadCount(wanted.threads));
      const limit = tried.length ? START_LIMIT_MS : Infinity;
      tried.push({ session, ...await session.within(limit, () => startAndTime(session, model, info, sample)) });
    } catch (error) {
      remarks.push(`${nameOf(backend)} failed: ${error.message}`);
    }
  }
  if (!tried.length) throw new UserError(`the model cannot run in this browser: ${remarks.join("; ")}`);
  const exact = tried.filter(({ mask }) => agreement(mask, tried[0].mask) >= LEAST_AGREEMENT);
  if (exact.length < tried.length) remarks.push("WebGPU predicts other classes here than the processor");
  const fastest = exact.reduce((best, one) => one.timing.milliseconds < best.timing.milliseconds ? one : best);
  for (const { session } of tried) if (session !== fastest.session) session.end();
  return { session: fastest.session, timings: tried.map(({ timing }) => timing), remarks };
}
function nameOf(backend) {
  return backend === "wasm" ? "WebAssembly" : "WebGPU";
}
async function startAndTime(session, model, info, sample) {
  await session.load(model, info);
  const first = await session.segment(await sample());
  first.image.close();
  const durations = [];
  for (let sum = 0; durations.length < TIMED_RUNS && sum < TIMED_MS; sum += durations.at(-1)) {
    const { image, milliseconds } = await session.segment(await sample());
    image.close();
    durations.push(milliseconds);
  }
  durations.sort((a, b) => a - b);
  return { mask: first.mask, timing: { backend: session.backend, milliseconds: durations[durations.length >> 1] } };
}
async function obstacleTo(backend) {
  if (backend === "wasm") return "";
  const gpu = navigator.gpu;
  if (!gpu) return "This browser has no WebGPU";
  if (!("Suspending" in WebAssembly)) return "This browser's WebAssembly cannot wait for WebGPU";
  return await gpu.requestAdapter().catch(() => null) ? "" : "WebGPU finds no GPU";
}

// src/files.ts
var MAX_PIXELS = 64e6;
var MAX_SIDE = 32767;
var HEADER_BYTES = 1 << 20;
var HEIF_BRANDS = ["heic", "heix", "heim", "heis", "mif1"];
async function decodeImage(file) {
  const kind = await kindOf(file);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const size = kind === "video" ? null : sizeOf(kind, bytes);
  if (size) requireSize(file.name, size);
  if (isTruncated(kind, bytes)) throw new UserError(`${file.name} is truncated; copy it again, or save it again`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  } catch {
    if (kind === "heif") throw new UserError(`${file.name} is a HEIC image, which this browser does not show; save it as JPEG first`);
    throw new UserError(`${file.name} is damaged or too large for this browser; save it again as PNG or JPEG`);
  }
  requireSize(file.name, bitmap);
  return bitmap;
}
async function isVideo(file) {
  return await kindOf(file) === "video";
}
async function kindOf(file) {
  if (file.size === 0) throw new UserError(`${file.name} is empty (0 bytes); give an image or a video`);
  const bytes = await readStart(file);
  const kind = recognize(bytes) ?? (file.type.startsWith("video/") ? "video" : null);
  if (kind) return kind;
  if (text(bytes, 0, 256).replace(/^\xef\xbb\xbf/, "").trimStart().startsWith("<"))
    throw new UserError(`${file.name} is text such as SVG or HTML, not pixels; save it as PNG first`);
  if (["II*\0", "MM\0*"].includes(text(bytes, 0, 4)))
    throw new UserError(`${file.name} is a TIFF, which browsers do not show; save it as PNG first`);
  throw new UserError(`${file.name} is not an image or a video that a browser reads; give PNG, JPEG, WebP, MP4 or WebM`);
}
async function readStart(file) {
  try {
    return new Uint8Array(await file.slice(0, HEADER_BYTES).arrayBuffer());
  } catch {
    throw new UserError(`${file.name} cannot be read; give a file, not a folder`);
  }
}
function recognize(bytes) {
  const start = text(bytes, 0, 12);
  const brand = start.slice(8, 12);
  if (start.startsWith("PNG\r\n\n")) return "png";
  if (start.startsWith("ÿØÿ")) return "jpeg";
  if (start.startsWith("GIF87a") || start.startsWith("GIF89a")) return "gif";
  if (start.startsWith("RIFF") && brand === "WEBP") return "webp";
  if (start.startsWith("BM")) return "bmp";
  if (start.slice(4, 8) === "ftyp") return brand === "avif" || brand === "avis" ? "avif" : HEIF_BRANDS.includes(brand) ? "heif" : "video";
  const isContainer = start.startsWith("Eß£") || start.startsWith("OggS") || start.startsWith("RIFF") && brand === "AVI ";
  return isContainer ? "video" : null;
}
function text(bytes, start, end) {
  return String.fromCharCode(...bytes.subarray(start, end));
}
function requireSize(name, { height, width }) {
  if (height * width <= MAX_PIXELS && Math.max(height, width) <= MAX_SIDE) return;
  throw new UserError(
    `${name} has ${width}x${height} pixels; this page takes up to ${MAX_PIXELS / 1e6} million, and sides up to ${MAX_SIDE}: use 'segnet predict' for larger images`
  );
}
function sizeOf(kind, bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    if (kind === "png") return { width: view.getUint32(16), height: view.getUint32(20) };
    if (kind === "gif") return { width: view.getUint16(6, true), height: view.getUint16(8, true) };
    if (kind === "bmp") return { width: Math.abs(view.getInt32(18, true)), height: Math.abs(view.getInt32(22, true)) };
    if (kind === "webp") return sizeOfWebp(view, text(bytes, 12, 16));
    if (kind === "avif" || kind === "heif") return sizeOfAvif(view, bytes);
    const at = kind === "jpeg" ? startOfFrame(view) : 0;
    return at ? { height: view.getUint16(at + 5), width: view.getUint16(at + 7) } : null;
  } catch (error) {
    if (error instanceof RangeError) return null;
    throw error;
  }
}
function sizeOfWebp(view, chunk2) {
  const three = (at) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16) + 1;
  if (chunk2 === "VP8X") return { width: three(24), height: three(27) };
  if (chunk2 === "VP8 ") return { width: view.getUint16(26, true) & 16383, height: view.getUint16(28, true) & 16383 };
  const bits = view.getUint32(21, true);
  return { width: (bits & 16383) + 1, height: (bits >>> 14 & 16383) + 1 };
}
function sizeOfAvif(view, bytes) {
  const at = text(bytes, 0, 4096).indexOf("ispe");
  return at < 0 ? null : { width: view.getUint32(at + 8), height: view.getUint32(at + 12) };
}
function startOfFrame(view) {
  for (let at = 2; at + 9 < view.byteLength; ) {
    const marker = view.getUint8(at + 1);
    if (view.getUint8(at) !== 255) return 0;
    if (marker >= 192 && marker <= 207 && ![196, 200, 204].includes(marker)) return at;
    at += marker === 255 ? 1 : 2 + view.getUint16(at + 2);
  }
  return 0;
}
function isTruncated(kind, bytes) {
  if (kind === "png") return !text(bytes, Math.max(0, bytes.length - 4096), bytes.length).includes("IEND");
  if (kind !== "jpeg") return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = startOfFrame(view) + 2; at + 1 < bytes.length; at++)
    if (bytes[at] === 255 && bytes[at + 1] === 217) return false;
  return true;
}

// src/png.ts
async function maskPng(mask, { height, width }, info) {
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  header.setUint8(9, 3);
  const palette = new Uint8Array(3 * 256);
  info.values.forEach((value, index) => palette.set(info.colors[index], 3 * value));
  const rows = new Uint8Array(height * (width + 1));
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) rows[y * (width + 1) + x + 1] = info.values[mask[at]];
  const parts = [
    new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", new Uint8Array(header.buffer)),
    chunk("PLTE", palette),
    chunk("IDAT", await deflate(rows)),
    chunk("IEND", new Uint8Array(0))
  ];
  return new Blob(parts, { type: "image/png" });
}
async function deflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
function chunk(kind, content) {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  for (let at = 0; at < 4; at++) bytes[4 + at] = kind.charCodeAt(at);
  bytes.set(content, 8);
  view.setUint32(content.length + 8, crc32(bytes.subarray(4, content.length + 8)));
  return bytes;
}
var CRC_TABLE = Int32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 3988292384 ^ value >>> 1 : value >>> 1;
  return value;
});
function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 255] ^ crc >>> 8;
  return (crc ^ -1) >>> 0;
}

// src/view.ts
var LONGEST_SIDE = 1920;
var STEP = 0.02;
var STILL_SPEECH = 1e3;
function element(id) {
  return document.getElementById(id);
}
var View = class {
  constructor(info) {
    this.info = info;
    const bytes = Uint8ClampedArray.from(info.colors.flatMap((color) => [...color, 255]));
    this.colors = new Uint32Array(bytes.buffer);
    this.rows = info.names.map((name, index) => this.addRow(name, index));
    const opacity = element("opacity");
    opacity.addEventListener("input", () => this.setOpacity(Number(opacity.value)));
    this.setOpacity(Number(opacity.value));
    this.stage.addEventListener("pointermove", (event) => this.followPointer(event));
    this.stage.addEventListener("pointerdown", (event) => this.followPointer(event));
    this.stage.addEventListener("pointerleave", () => this.pointAt(null));
    this.stage.addEventListener("keydown", (event) => this.followKey(event));
    element("save-mask").addEventListener("click", () => void this.saveMask());
    element("save-overlay").addEventListener("click", () => void this.saveOverlay());
  }
  info;
  stage = element("stage");
  image = element("image");
  overlay = element("overlay");
  cursor = element("cursor");
  rows;
  colors;
  // RGBA of each class, as one number
  shown = null;
  point = null;
  // shares of width and height
  lastText = 0;
  /** Shows an image with its mask; the image is kept until the next one comes. */
  show(segmented) {
    this.shown?.image.close();
    this.shown = segmented;
    const { image, size, counts } = segmented;
    const scale = Math.min(1, LONGEST_SIDE / Math.max(size.width, size.height));
    const [width, height] = [Math.max(1, Math.round(size.width * scale)), Math.max(1, Math.round(size.height * scale))];
    for (const canvas of [this.image, this.overlay])
      if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    this.stage.style.setProperty("--aspect", String(width / height));
    element("hint").hidden = true;
    this.image.getContext("2d").drawImage(image, 0, 0, width, height);
    this.overlay.getContext("2d").putImageData(this.colored(width, height), 0, 0);
    const area = size.width * size.height;
    counts.forEach((count, index) => this.rows[index].share.textContent = `${(100 * count / area).toFixed(1)} %`);
    for (const id of ["save-mask", "save-overlay"]) element(id).disabled = false;
    this.describePoint(performance.now() - this.lastText > STILL_SPEECH);
  }
  addRow(name, index) {
    const row = document.createElement("li");
    const swatch = this.swatch(index);
    const [label, share] = [document.createElement("span"), document.createElement("span")];
    [label.className, share.className, label.textContent] = ["name", "share", name];
    row.append(swatch, label, share);
    element("legend").append(row);
    return { row, share };
  }
  swatch(index) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = `rgb(${this.info.colors[index].join(" ")})`;
    return swatch;
  }
  setOpacity(percent) {
    this.overlay.style.opacity = String(percent / 100);
    element("percent").textContent = `${percent} %`;
  }
  /** Class colors at the size of the canvas: of each of its pixels the class at its center. */
  colored(width, height) {
    const { mask, size } = this.shown;
    const pixels = new Uint32Array(width * height);
    for (let y = 0, at = 0; y < height; y++) {
      const row = Math.floor((y + 0.5) * size.height / height) * size.width;
      for (let x = 0; x < width; x++, at++) pixels[at] = this.colors[mask[row + Math.floor((x + 0.5) * size.width / width)]];
    }
    return new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
  }
  followPointer(event) {
    const box = this.stage.getBoundingClientRect();
    this.cursor.hidden = true;
    this.pointAt({ x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height });
  }
  followKey(event) {
    const steps = {
      ArrowLeft: [-STEP, 0],
      ArrowRight: [STEP, 0],
      ArrowUp: [0, -STEP],
      ArrowDown: [0, STEP]
    };
    const step = steps[event.key];
    if (!step || !this.shown) return;
    event.preventDefault();
    const from = this.point ?? { x: 0.5, y: 0.5 };
    const inside = (share) => Math.min(0.999, Math.max(0, share));
    const to = this.point ? { x: inside(from.x + step[0]), y: inside(from.y + step[1]) } : from;
    this.cursor.hidden = false;
    [this.cursor.style.left, this.cursor.style.top] = [`${100 * to.x}%`, `${100 * to.y}%`];
    this.pointAt(to);
  }
  pointAt(point) {
    if (!point && !this.cursor.hidden) return;
    this.point = point;
    this.describePoint(true);
  }
  describePoint(say2) {
    if (!this.shown) return;
    const index = this.classAtPoint();
    this.rows.forEach(({ row }, at) => row.classList.toggle("pointed", at === index));
    if (!say2) return;
    this.lastText = performance.now();
    const text2 = element("pixel");
    if (index === null) text2.textContent = "Point at the image to read the class of a pixel.";
    else text2.replaceChildren(this.swatch(index), ` ${this.info.names[index]}`);
  }
  classAtPoint() {
    if (!this.point || !this.shown) return null;
    const { mask, size } = this.shown;
    const [x, y] = [Math.floor(this.point.x * size.width), Math.floor(this.point.y * size.height)];
    const isInside = x >= 0 && y >= 0 && x < size.width && y < size.height;
    return isInside ? mask[y * size.width + x] : null;
  }
  async saveMask() {
    const { mask, size } = this.shown;
    save(await maskPng(mask, size, this.info), "mask.png");
  }
  async saveOverlay() {
    const canvas = new OffscreenCanvas(this.image.width, this.image.height);
    const context = canvas.getContext("2d");
    context.drawImage(this.image, 0, 0);
    context.globalAlpha = Number(this.overlay.style.opacity);
    context.drawImage(this.overlay, 0, 0);
    save(await canvas.convertToBlob(), "overlay.png");
  }
};
function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 6e4);
}

// src/player.ts
var RATE_WINDOW = 2e3;
var Player = class {
  // times of the frames of the last seconds
  /**
   * @param segment segments a frame and shows it.
   * @param fail shows why a loop ended.
   */
  constructor(segment, fail) {
    this.segment = segment;
    this.fail = fail;
    this.video.muted = true;
    this.video.playsInline = true;
    this.video.loop = true;
    this.play.addEventListener("click", () => void (this.video.paused ? this.video.play() : this.video.pause()));
    for (const name of ["play", "pause"])
      this.video.addEventListener(name, () => this.play.textContent = this.video.paused ? "Play" : "Pause");
    this.seek.addEventListener("input", () => this.video.currentTime = Number(this.seek.value) * (this.video.duration || 0));
    this.video.addEventListener("timeupdate", () => this.seek.value = String(this.video.currentTime / (this.video.duration || 1)));
  }
  segment;
  fail;
  video = document.createElement("video");
  seek = element("seek");
  play = element("play");
  url = null;
  turn = 0;
  // of the loop that runs; a loop of another turn ends
  finished = [];
  /** Plays a video file; false if another source was chosen meanwhile. */
  async openVideo(file) {
    this.stop();
    this.url = URL.createObjectURL(file);
    this.video.src = this.url;
    const reason = `${file.name} cannot be played by this browser; convert it to MP4 (H.264) or WebM`;
    const plays = await this.begin(() => new UserError(reason));
    if (plays) element("player").hidden = false;
    return plays;
  }
  /** Plays the camera; false if another source was chosen while the visitor was asked for permission. */
  async openCamera() {
    this.stop();
    const turn = this.turn;
    if (!navigator.mediaDevices) throw new UserError("browsers give the camera to pages on https or localhost only; serve this page there");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 640 } } });
    } catch (error) {
      throw new UserError(cameraFault(error));
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
  stop() {
    this.turn++;
    this.finished = [];
    this.video.pause();
    release(this.video.srcObject);
    this.video.srcObject = null;
    this.video.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    element("player").hidden = true;
    element("rate").textContent = "";
  }
  lose() {
    this.stop();
    this.fail(new UserError("the camera was disconnected; plug it in, and press the button again"));
  }
  async begin(explain) {
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
  async loop(turn) {
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
  count() {
    const now = performance.now();
    const last = this.finished.length - 1;
    this.finished = [...this.finished.filter((time, at) => at === last || now - time < RATE_WINDOW), now];
    const span = now - this.finished[0];
    if (span > 0) element("rate").textContent = `${(1e3 * (this.finished.length - 1) / span).toFixed(1)} frames/s`;
  }
};
function release(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}
function nextPaint() {
  return new Promise((resolve) => requestAnimationFrame(() => resolve()));
}
function cameraFault({ name }) {
  if (name === "NotAllowedError") return "the camera was refused; allow it beside the address of this page, and press the button again";
  if (name === "NotFoundError") return "this machine has no camera; open an image or a video instead";
  return `the camera cannot be used (${name}); close other programs that use it`;
}

// src/page.ts
var SOURCES = ["open", "camera", "sample"];
var ISOLATION_LIMIT_MS = 3e3;
var Page = class {
  // of the visitor, to show something; only the newest one counts
  constructor(info) {
    this.info = info;
    this.view = new View(info);
    this.player = new Player((frame) => this.segment(frame), showError);
    element("model").textContent = info.name;
    document.title = `${info.name}: semantic segmentation in your browser`;
    this.connect();
  }
  info;
  session = null;
  model = null;
  view;
  player;
  queue = Promise.resolve();
  // one image at a time
  attempts = 0;
  /** Loads the model if that is still to do, and starts the faster session. */
  async start() {
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
  end() {
    this.attempts++;
    this.player.stop();
    this.session?.end();
    this.session = null;
    element("speed").textContent = "";
    say("The session was ended, and its memory was freed.");
    this.enable(false, "Start session");
  }
  /** Segments an image and shows it. */
  segment(image) {
    const session = this.session;
    const run = this.queue.then(async () => {
      if (!session) throw new UserError("no session runs; press Start session");
      const segmented = await session.segment(image, Number(element("detail").value));
      this.view.show(segmented);
      return segmented;
    });
    this.queue = run.catch(() => void 0);
    return run;
  }
  connect() {
    const input = element("file");
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
  acceptDrops() {
    const mark = (on) => element("stage").classList.toggle("target", on);
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
  openFile(file) {
    return this.attempt(async (isNewest) => {
      if (!file) throw new UserError("no file was given; drop an image or a video, not text or a link");
      if (!this.session) throw new UserError("no session runs yet; wait for it, or press Start session");
      if (!await isVideo(file)) await this.showImage(file.name, () => decodeImage(file), isNewest);
      else if (isNewest() && await this.player.openVideo(file)) say(`${file.name} plays by ${describe(this.session)}.`);
    });
  }
  async openCamera() {
    if (await this.player.openCamera()) say(`The camera runs by ${describe(this.session)}.`);
  }
  async showImage(name, load, isNewest) {
    const image = await load();
    if (!isNewest()) return image.close();
    this.player.stop();
    say(`${name}: the model runs.`);
    const { size, milliseconds } = await this.segment(image);
    if (isNewest()) say(`${name}, ${size.width}x${size.height}, took ${milliseconds.toFixed(0)} ms by ${describe(this.session)}.`);
  }
  /** Does what the visitor asked for, and shows why it failed. What a newer attempt or the end of the session overtook shows nothing. */
  async attempt(action) {
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
  enable(running, session) {
    for (const id of SOURCES) element(id).disabled = !running;
    const button = element("session");
    button.textContent = session;
    button.disabled = !running && session === "End session";
  }
};
function say(text2) {
  element("status").textContent = text2;
}
function showError(error) {
  const box = element("error");
  const text2 = error instanceof Error ? error.message : String(error);
  box.textContent = text2 + (text2.endsWith(".") ? "" : ".");
  box.hidden = false;
}
function clearError() {
  element("error").hidden = true;
}
function describe({ backend, threads }) {
  if (backend === "webgpu") return "WebGPU";
  return `WebAssembly with ${threads} thread${threads === 1 ? "" : "s"}`;
}
function threadRemark() {
  if (threadCount(null) > 1 || navigator.hardwareConcurrency === 1) return "";
  return self.crossOriginIsolated ? "" : "One thread only, since this server does not isolate the page";
}
async function loadSample() {
  const response = await fetchFile("sample.jpg");
  return decodeImage(new File([await response.blob()], "sample.jpg"));
}
function readAddress() {
  const given = new URLSearchParams(location.search);
  const threads = Number(given.get("threads"));
  const backend = given.get("backend");
  return {
    threads: Number.isInteger(threads) && threads > 0 ? threads : null,
    backend: backend === "wasm" || backend === "webgpu" ? backend : null
  };
}
async function isolate() {
  if (self.crossOriginIsolated || !isSecureContext || !navigator.serviceWorker || sessionStorage.getItem("isolated")) return false;
  sessionStorage.setItem("isolated", "tried");
  try {
    await navigator.serviceWorker.register("isolation.js", { type: "module" });
    const late = new Promise((_, reject) => setTimeout(reject, ISOLATION_LIMIT_MS));
    await Promise.race([navigator.serviceWorker.ready, late]);
    location.reload();
    return true;
  } catch {
    return false;
  }
}
async function main() {
  if (await isolate()) return;
  try {
    await new Page(await loadInfo()).start();
  } catch (error) {
    say("The page cannot start.");
    showError(error);
  }
}
void main();

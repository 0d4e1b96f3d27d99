// What a visitor gave: an image, a video, or something that the page refuses by its first bytes, before it is decoded.

import { UserError, type Size } from "./model";

const MAX_PIXELS = 64_000_000;
const MAX_SIDE = 32_767; // of a canvas
const HEADER_BYTES = 1 << 20;
const HEIF_BRANDS = ["heic", "heix", "heim", "heis", "mif1"]; // images; a sequence is a video

type Kind = "png" | "jpeg" | "gif" | "webp" | "bmp" | "avif" | "heif" | "video";

/** Decodes an image file as `segnet predict` reads it: upright, without color management. */
export async function decodeImage(file: File): Promise<ImageBitmap> {
  const kind = await kindOf(file);
  const bytes = new Uint8Array(await file.arrayBuffer());
  const size = kind === "video" ? null : sizeOf(kind, bytes);
  if (size) requireSize(file.name, size);
  if (isTruncated(kind, bytes)) throw new UserError(`${file.name} is truncated; copy it again, or save it again`);
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes]), { colorSpaceConversion: "none", premultiplyAlpha: "none", imageOrientation: "from-image" });
  } catch {
    if (kind === "heif") throw new UserError(`${file.name} is a HEIC image, which this browser does not show; save it as JPEG first`);
    throw new UserError(`${file.name} is damaged or too large for this browser; save it again as PNG or JPEG`);
  }
  requireSize(file.name, bitmap);
  return bitmap;
}

/** Whether a file is a video. Refuses what is neither an image nor a video. */
export async function isVideo(file: File): Promise<boolean> {
  return (await kindOf(file)) === "video";
}

async function kindOf(file: File): Promise<Kind> {
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

async function readStart(file: File): Promise<Uint8Array> {
  try {
    return new Uint8Array(await file.slice(0, HEADER_BYTES).arrayBuffer());
  } catch {
    throw new UserError(`${file.name} cannot be read; give a file, not a folder`);
  }
}

function recognize(bytes: Uint8Array): Kind | null {
  const start = text(bytes, 0, 12);
  const brand = start.slice(8, 12);
  if (start.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (start.startsWith("\xff\xd8\xff")) return "jpeg";
  if (start.startsWith("GIF87a") || start.startsWith("GIF89a")) return "gif";
  if (start.startsWith("RIFF") && brand === "WEBP") return "webp";
  if (start.startsWith("BM")) return "bmp";
  if (start.slice(4, 8) === "ftyp") return brand === "avif" || brand === "avis" ? "avif" : HEIF_BRANDS.includes(brand) ? "heif" : "video";
  const isContainer = start.startsWith("\x1aE\xdf\xa3") || start.startsWith("OggS") || (start.startsWith("RIFF") && brand === "AVI ");
  return isContainer ? "video" : null;
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return String.fromCharCode(...bytes.subarray(start, end));
}

function requireSize(name: string, { height, width }: Size): void {
  if (height * width <= MAX_PIXELS && Math.max(height, width) <= MAX_SIDE) return;
  throw new UserError(
    `${name} has ${width}x${height} pixels; this page takes up to ${MAX_PIXELS / 1e6} million, and sides up to ` +
    `${MAX_SIDE}: use 'segnet predict' for larger images`,
  );
}

/** The size that the header promises; null where the format is not parsed here, and the decoder finds out. */
function sizeOf(kind: Kind, bytes: Uint8Array): Size | null {
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

function sizeOfWebp(view: DataView, chunk: string): Size | null {
  const three = (at: number) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16) + 1;
  if (chunk === "VP8X") return { width: three(24), height: three(27) };
  if (chunk === "VP8 ") return { width: view.getUint16(26, true) & 0x3fff, height: view.getUint16(28, true) & 0x3fff };
  const bits = view.getUint32(21, true); // VP8L
  return { width: (bits & 0x3fff) + 1, height: ((bits >>> 14) & 0x3fff) + 1 };
}

function sizeOfAvif(view: DataView, bytes: Uint8Array): Size | null {
  const at = text(bytes, 0, 4096).indexOf("ispe");
  return at < 0 ? null : { width: view.getUint32(at + 8), height: view.getUint32(at + 12) };
}

/** Where the marker begins that holds the size of a JPEG; 0 if there is none. */
function startOfFrame(view: DataView): number {
  for (let at = 2; at + 9 < view.byteLength; ) {
    const marker = view.getUint8(at + 1);
    if (view.getUint8(at) !== 0xff) return 0;
    if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) return at;
    at += marker === 0xff ? 1 : 2 + view.getUint16(at + 2);
  }
  return 0;
}

/** Browsers show what there is of half a PNG or JPEG; `segnet predict` refuses it, and so does this page. */
function isTruncated(kind: Kind, bytes: Uint8Array): boolean {
  if (kind === "png") return !text(bytes, Math.max(0, bytes.length - 4096), bytes.length).includes("IEND");
  if (kind !== "jpeg") return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = startOfFrame(view) + 2; at + 1 < bytes.length; at++)
    if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return false;
  return true;
}

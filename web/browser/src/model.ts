// The model that the page runs: model.json, which `segnet export --format browser` writes beside model.onnx.

export interface Size {
  height: number;
  width: number;
}

export interface ResizeRule {
  max_size: number | null; // longest side in pixels
  box: [number, number] | null; // (height, width) of a model that was trained with --resize
  stretch: boolean;
}

export interface ModelInfo {
  name: string;
  names: string[]; // of the classes
  colors: [number, number, number][]; // red, green, blue in 0..255
  values: number[]; // of the classes in mask files
  channels: 1 | 3;
  resize: ResizeRule;
  file: string;
  bytes: number;
  sha256: string;
}

/** An error that the page shows as it is: one sentence that says what is wrong and what to do. */
export class UserError extends Error {}

const AGAIN = "make the folder again with 'segnet export --format browser'";

export async function loadInfo(): Promise<ModelInfo> {
  const response = await fetchFile("model.json");
  try {
    const info = (await response.json()) as ModelInfo;
    if (info.names.length !== info.colors.length || typeof info.bytes !== "number") throw new TypeError();
    return info;
  } catch {
    throw new UserError(`model.json is damaged; ${AGAIN}`);
  }
}

/** The content of the model file, after its size and its hash were compared with those of model.json. */
export async function loadModel(info: ModelInfo, progress: (share: number) => void): Promise<ArrayBuffer> {
  const response = await fetchFile(info.file);
  const bytes = await readAll(response, info.bytes, progress);
  if (bytes.byteLength !== info.bytes)
    throw new UserError(`${info.file} is damaged: it has ${bytes.byteLength} bytes instead of ${info.bytes}; ${AGAIN}`);
  // Browsers offer hashes on https and localhost only.
  if (crypto.subtle && (await sha256(bytes)) !== info.sha256)
    throw new UserError(`${info.file} is damaged: its content is not what was exported; ${AGAIN}`);
  return bytes;
}

export async function fetchFile(name: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(name);
  } catch {
    throw new UserError(`${name} cannot be loaded; check that the server of this page still runs`);
  }
  if (!response.ok) throw new UserError(`${name} is missing on the server (${response.status}); ${AGAIN}`);
  return response;
}

async function readAll(response: Response, expected: number, progress: (share: number) => void): Promise<ArrayBuffer> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let length = 0;
  const reader = response.body!.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    chunks.push(part.value as Uint8Array<ArrayBuffer>);
    length += part.value.length;
    progress(Math.min(1, length / expected));
  }
  return new Blob(chunks).arrayBuffer();
}

async function sha256(bytes: ArrayBuffer): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

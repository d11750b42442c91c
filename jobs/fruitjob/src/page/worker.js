// Pixels to an answer, beside the page: loads what is computed with and what it knows, and runs it. The page asks
// {id, file}, or {id, pixels, width, height}, and gets {id, answer} or {id, error}.
const here = new URL('.', self.location);

async function get(name) {
  const response = await fetch(new URL(name, here));
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return response.arrayBuffer();
}

let memory;
let app;

function message() {
  return new TextDecoder().decode(new Uint8Array(memory.buffer, app.out(), app.out_len()));
}

// The memory may move whenever something is asked of the module: it is looked at anew each time.
function put(bytes) {
  const at = app.place(bytes.byteLength);
  if (at === 0) throw new Error(`no memory for ${bytes.byteLength} bytes`);
  new Uint8Array(memory.buffer, at, bytes.byteLength).set(bytes);
}

const opened = (async () => {
  const [wasm, bundle] = await Promise.all([get('fruitapp.wasm'), get('bundle.bin')]);
  const { instance } = await WebAssembly.instantiate(wasm, {});
  app = instance.exports;
  memory = app.memory;
  put(new Uint8Array(bundle));
  if (app.open() !== 1) throw new Error(message());
})();
opened.catch((error) => self.postMessage({ broken: String(error) }));

// All pixels of a picture, upright as its camera noted, in the colours that its file has.
async function pixels(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return { width, height, data: context.getImageData(0, 0, width, height).data };
}

function recognise({ width, height, data }) {
  put(data);
  if (app.recognise(width, height) !== 1) throw new Error(message());
  const out = new Float32Array(memory.buffer.slice(app.out(), app.out() + app.out_len()));
  const [unlike, label, share, limit, n] = out;
  const nearest = Array.from({ length: n }, (_, i) => [out[5 + 2 * i], out[6 + 2 * i]]);
  return { unlike: unlike === 1, label, share, limit, nearest, vector: out.slice(5 + 2 * n) };
}

self.onmessage = async ({ data }) => {
  if (data.id === undefined) return;
  try {
    await opened;
  } catch {
    return;
  }
  try {
    const image = data.file ? await pixels(data.file) : { ...data, data: data.pixels };
    const began = performance.now();
    const answer = recognise(image);
    self.postMessage({ id: data.id, answer, milliseconds: performance.now() - began });
  } catch (error) {
    self.postMessage({ id: data.id, error: String(error) });
  }
};

// The page: asks for a picture, and shows what the worker says of it. Names come from files: they are text and nothing else.
import { words } from './words.js';

const lang = (navigator.languages ?? [navigator.language]).some((l) => /^(fr|en)\b/i.test(l))
  ? navigator.languages.find((l) => /^(fr|en)\b/i.test(l)).slice(0, 2).toLowerCase()
  : 'en';
const say = words[lang];
const $ = (id) => document.getElementById(id);
const here = new URL('.', import.meta.url);
const root = new URL('..', here);

document.documentElement.lang = lang;
document.title = say.title;
for (const element of document.querySelectorAll('[data-word]')) element.textContent = say[element.dataset.word];
$('picture').setAttribute('aria-label', say.picture);

let about;
let pictures;
let last = 0;
const worker = new Worker(new URL('worker.js', here));

function tell(answer, sure) {
  $('answer').textContent = answer;
  $('sure').textContent = sure;
}

async function get(name) {
  const response = await fetch(new URL(name, here));
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return response;
}

// Another version may have taken this one's place while it was loaded: once more, from the start.
function broken(error) {
  console.error(error);
  const key = `again ${here.pathname}`;
  if (!sessionStorage.getItem(key) && navigator.onLine) {
    sessionStorage.setItem(key, '1');
    location.reload();
    return;
  }
  $('said').hidden = false;
  tell(say.broken, say.again);
}

function row(label) {
  const tr = document.createElement('tr');
  const cells = [label.label, say.number(label.photographs), say.number(label.pictures - label.photographs)];
  for (const [i, text] of cells.entries()) {
    const cell = document.createElement(i === 0 ? 'th' : 'td');
    if (i === 0) cell.scope = 'row';
    cell.textContent = text;
    tr.append(cell);
  }
  return tr;
}

function introduce() {
  const sum = (key) => about.labels.reduce((n, label) => n + label[key], 0);
  const [shown, photographs] = [sum('pictures'), sum('photographs')];
  const when = about.finished ? new Date(about.finished).toLocaleDateString(lang, { dateStyle: 'long' }) : '?';
  $('gallery').textContent = say.gallery(about.labels.length, shown, photographs, when);
  $('right').textContent = about.check ? say.right(about.check) : say.unchecked;
  $('labels').replaceChildren(...about.labels.map(row));
  if (photographs === 0) {
    $('warning').textContent = say.turntables;
    $('warning').hidden = false;
  }
}

// The gallery's picture of this number, on a canvas: nothing is fetched for it.
async function thumbnail(number, canvas) {
  const start = number === 0 ? 0 : about.ends[number - 1];
  const jpeg = new Blob([pictures.slice(start, about.ends[number])], { type: 'image/jpeg' });
  const bitmap = await createImageBitmap(jpeg);
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  canvas.getContext('2d').drawImage(bitmap, 0, 0);
  bitmap.close();
}

function neighbour([number, distance], label) {
  const li = document.createElement('li');
  const [canvas, name] = [document.createElement('canvas'), document.createElement('span')];
  const its = about.labels[about.label_of[number]].label;
  canvas.setAttribute('role', 'img');
  canvas.setAttribute('aria-label', say.away(its, distance.toLocaleString(lang, { maximumFractionDigits: 2 })));
  name.textContent = its;
  name.setAttribute('aria-hidden', 'true');
  li.classList.toggle('same', about.label_of[number] === label);
  li.append(canvas, name);
  thumbnail(number, canvas).catch(console.error);
  return li;
}

function show({ unlike, label, share, nearest }) {
  const name = about.labels[label].label;
  const same = Math.round(share * nearest.length);
  tell(unlike ? say.unlike : name, unlike ? say.far(name) : say.sure(same, nearest.length));
  $('said').classList.toggle('unlike', unlike);
  $('pictures').replaceChildren(...nearest.map((one) => neighbour(one, unlike ? -1 : label)));
  $('nearest').hidden = false;
}

// What is asked about, as large as it is shown.
async function draw(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, 640 / Math.max(bitmap.width, bitmap.height));
  const canvas = $('picture');
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  canvas.getContext('2d').drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  canvas.hidden = false;
  $('hint').hidden = true;
}

function ask(file) {
  if (!file) return;
  last += 1;
  tell(say.looking, '');
  $('nearest').hidden = true;
  $('said').setAttribute('aria-busy', 'true');
  worker.postMessage({ id: last, file });
  draw(file).catch(() => {
    $('picture').hidden = true;
    $('hint').hidden = false;
  });
}

worker.onmessage = ({ data }) => {
  if (data.broken) return broken(data.broken);
  // Of an earlier picture: the person has chosen another one meanwhile.
  if (data.id !== last) return;
  $('said').setAttribute('aria-busy', 'false');
  if (data.error) {
    console.warn(data.error);
    $('said').classList.add('unlike');
    tell(say.unreadable, say.why);
  } else {
    show(data.answer);
  }
};
worker.onerror = (event) => broken(event.message);

for (const input of [$('camera'), $('file')]) {
  input.addEventListener('change', () => {
    ask(input.files[0]);
    // The same file may be chosen again.
    input.value = '';
  });
}
addEventListener('dragover', (event) => event.preventDefault());
addEventListener('drop', (event) => {
  event.preventDefault();
  ask([...event.dataTransfer.files].find((file) => file.type.startsWith('image/')));
});
addEventListener('paste', (event) => ask([...event.clipboardData.files].find((file) => file.type.startsWith('image/'))));

try {
  [about, pictures] = await Promise.all([
    get('about.json').then((response) => response.json()),
    get('pictures.bin').then((response) => response.arrayBuffer()),
  ]);
  introduce();
  worker.postMessage({ open: true });
  if (last === 0) tell(say.ready, '');
  document.documentElement.dataset.ready = 'yes';
} catch (error) {
  broken(error);
}
// Without a service worker the page works too, but not without a network.
navigator.serviceWorker?.register(new URL('sw.js', root)).catch(console.warn);

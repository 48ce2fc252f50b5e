// Sheets of samples, and the neighbours of one: pictures, passages, lines of a series, or transitions.

import { Problem, api, patiently, post, sampleContent, showPicture } from './api.js';
import { baseName, byId, clockTime, count, decimals, el, pathOf, plural, setState, setText, visible } from './elements.js';
import { modalityOf, page } from './page.js';

const SHEET_PICTURES = 12;

const canHover = matchMedia('(hover: hover)').matches;

const SVG = 'http://www.w3.org/2000/svg';
const LINES_MAX = 8;

/** A sample that is no picture. */
function drawn(content) {
  if (content.modality === 'series') return drawnSeries(content.series);
  const rounded = (numbers) => numbers.slice(0, 6).map((number) => Number(number.toPrecision(3))).join(' ') + (numbers.length > 6 ? ' \u2026' : '');
  const said = content.modality === 'text'
    ? visible(content.text.replace(/\s+/g, ' '))
    : `${rounded(content.state)} \u2192 ${[content.action].flat().join(' ')} \u2192 ${rounded(content.next_state)}`;
  return el('span', { class: 'said' }, said);
}

/** The lines of a window, each between its own least and most; a missing step is a gap. */
function drawnSeries(series) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 84 84');
  svg.setAttribute('class', 'lines');
  svg.setAttribute('aria-hidden', 'true');
  for (const steps of series.slice(0, LINES_MAX)) {
    const there = steps.filter((value) => value !== null);
    const [least, most] = [Math.min(...there), Math.max(...there)];
    let pen = 'M';
    const path = steps.map((value, at) => {
      if (value === null) { pen = 'M'; return ''; }
      const x = 2 + 80 * at / Math.max(1, steps.length - 1);
      const y = most > least ? 80 - 76 * (value - least) / (most - least) : 42;
      const piece = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
      pen = 'L';
      return piece;
    });
    const line = document.createElementNS(SVG, 'path');
    line.setAttribute('d', path.join(''));
    svg.append(line);
  }
  return svg;
}

/** One picture of a sheet: a button that asks for its neighbours. */
function makePicture(stream, { id, path, words }) {
  const isPicture = modalityOf(stream) === 'image';
  const picture = isPicture
    ? el('img', { alt: '', loading: 'lazy', decoding: 'async', draggable: false, width: 84, height: 84 })
    : el('span', { class: 'said' });
  const caption = el('span', { class: 'caption' }, words ? el('b', {}, words) : null, el('span', { class: 'path' }, visible(baseName(path))));
  const button = el('button', { type: 'button', title: `${visible(path)} (sample ${id})` }, picture, caption);
  button.setAttribute('aria-label', [`Neighbours of ${visible(path)}`, words].filter(Boolean).join(', '));
  const gone = () => el('span', { class: 'gone' }, 'gone');
  if (isPicture) {
    picture.addEventListener('error', () => picture.replaceWith(gone()));
    showPicture(picture, stream, id);
  } else sampleContent(stream, id).then(drawn, gone).then((shown) => picture.replaceWith(shown));
  button.addEventListener('click', () => searchSample(stream, id, path));
  return el('li', { 'data-sample': `${stream}/${id}` }, button);
}

/** Shows pictures in a sheet; those that were there stay. One that is pointed at waits, so that nobody presses another. */
export function showSheet(name, stream, pictures, note) {
  const sheet = byId(name);
  if (name !== 'hits' && sheet.matches(canHover ? ':hover, :focus-within' : ':focus-within')) return;
  setText(byId(name === 'hits' ? 'search-note' : `${name}-note`), note);
  const old = new Map([...sheet.children].map((item) => [item.dataset.sample, item]));
  const items = pictures.map((picture) => {
    const item = old.get(`${stream}/${picture.id}`);
    if (!item) return makePicture(stream, picture);
    const words = item.querySelector('b');
    if (words) setText(words, picture.words);
    return item;
  });
  const isSame = items.length === sheet.children.length && items.every((item, index) => item === sheet.children[index]);
  if (!isSame) sheet.replaceChildren(...items);
}

export async function refreshNovel(stream) {
  const { generation, results } = await post('novelty', { model: stream, top: SHEET_PICTURES });
  const pictures = results.map(({ id, path, novelty }) => ({ id, path, words: decimals(novelty, 3) }));
  const note = pictures.length > 0
    ? `Farthest from their 10 nearest, as generation ${count(generation)} sees them; the number is the share of samples that are less novel.`
    : 'Too few samples to say.';
  return () => showSheet('novel', stream, pictures, note);
}

/** The newest samples of each stream that the page has heard of, newest first. */
const newest = new Map();

export function taken(stream, id, path, at) {
  const known = newest.get(stream) ?? [];
  if (known.some((sample) => sample.id === id)) return;
  newest.set(stream, [...known, { id, path, words: clockTime(at) }].sort((a, b) => b.id - a.id).slice(0, SHEET_PICTURES));
}

export function showNewest(stream) {
  const pictures = newest.get(stream) ?? [];
  showSheet('newest', stream, pictures, pictures.length > 0 ? 'As they are kept; each as soon as it is taken.' : 'Each appears here as soon as it is taken.');
}

/** Asks for the newest samples that no event told of; one that is gone again is left out. */
export async function refreshNewest(stream) {
  const last = page.status.streams.find(({ name }) => name === stream).newest_sample;
  const known = new Set(newest.get(stream)?.map(({ id }) => id));
  const ids = Array.from({ length: Math.min(SHEET_PICTURES, last) }, (_, below) => last - below).filter((id) => !known.has(id));
  const samples = await Promise.allSettled(ids.map((id) => api(`samples/${id}?stream=${encodeURIComponent(stream)}`)));
  return () => {
    for (const { value } of samples) if (value) taken(stream, value.id, value.path, new Date(value.taken_at));
    showNewest(stream);
  };
}

// --- Neighbours

let searching = null;
let queryUrl = null;

function searchPicture(file) {
  const type = file.type.startsWith('image/') ? file.type : 'application/octet-stream';
  const stream = page.chosen;
  if (!stream) return;
  if (queryUrl) URL.revokeObjectURL(queryUrl);
  queryUrl = URL.createObjectURL(file);
  const path = `search?model=${encodeURIComponent(stream)}&k=${SHEET_PICTURES}`;
  const url = queryUrl;
  search(stream, file.name || 'the pasted picture', (picture) => { picture.src = url; }, (signal) => api(path, { method: 'POST', headers: { 'content-type': type }, body: file, signal }));
}

function searchSample(stream, id, path) {
  const preview = modalityOf(stream) === 'image' ? (picture) => showPicture(picture, stream, id) : null;
  search(stream, path, preview, (signal) => post('search', { model: stream, id, k: SHEET_PICTURES }, { signal }));
  byId('search-title').focus();
}

async function search(stream, name, preview, request) {
  searching?.abort();
  const mine = searching = new AbortController();
  const note = byId('search-note');
  showQuery(name, preview);
  setState(note, '');
  byId('hits').replaceChildren();
  setText(note, 'Looking for its neighbours\u2026');
  try {
    const { generation, space, hits } = await patiently(() => request(mine.signal), (why) => setText(note, why));
    if (searching !== mine) return;
    const pictures = hits.map(({ id, path, score }) => ({ id, path, words: decimals(score, 3) }));
    const found = `${plural(hits.length, 'nearest sample')} by cosine similarity, as generation ${count(generation)} (space ${visible(space)}) sees them.`;
    showSheet('hits', stream, pictures, hits.length > 0 ? found : 'No sample is searchable yet.');
  } catch (error) {
    if (searching !== mine) return;
    setState(note, 'bad');
    setText(note, error instanceof Problem ? error.message : 'The daemon did not answer.');
  }
}

export function forgetSearch() {
  searching?.abort();
  searching = null;
  byId('query').hidden = true;
  setState(byId('search-note'), '');
  showSheet('hits', page.chosen, [], 'The samples most like it, with their cosine similarity, appear here. What is asked is not kept.');
}

function showQuery(name, preview) {
  const picture = byId('query-picture');
  picture.hidden = preview === null;
  preview?.(picture);
  byId('query').hidden = false;
  byId('query-name').replaceChildren(pathOf(name));
}

/** What can be asked about: a picture, a text, or a sample. */
export function showQuestion(modality) {
  byId('text-form').hidden = modality !== 'text';
  byId('drop').hidden = modality !== 'image';
  byId('press').hidden = modality === 'text' || modality === 'image';
}

function searchText(text) {
  const stream = page.chosen;
  if (stream) search(stream, text.slice(0, 120), null, (signal) => post('search', { model: stream, text, k: SHEET_PICTURES }, { signal }));
}

export function listenForPictures() {
  byId('text-form').addEventListener('submit', (event) => {
    event.preventDefault();
    searchText(byId('text').value);
  });

  const input = byId('file');
  const veil = byId('drop-veil');
  const isFiles = (event) => event.dataTransfer?.types.includes('Files') && page.chosen !== null && !byId('drop').hidden;
  const take = (files) => files.length > 0 && searchPicture(files[0]);
  input.addEventListener('change', () => {
    take(input.files);
    input.value = '';
  });
  byId('query-picture').addEventListener('error', (event) => { event.target.hidden = true; });
  addEventListener('dragover', (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  addEventListener('dragleave', (event) => { if (!event.relatedTarget) veil.hidden = true; });
  addEventListener('drop', (event) => {
    veil.hidden = true;
    if (!isFiles(event)) return;
    event.preventDefault();
    take(event.dataTransfer.files);
    byId('search-title').focus();
  });
  addEventListener('paste', (event) => { if (!byId('drop').hidden) take(event.clipboardData?.files ?? []); });
}

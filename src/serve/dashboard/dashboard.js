// The daemon's page: asks the public API how things are, and shows it.
// Always true: what comes from files (paths, details, verdicts) reaches the page through `visible` and as text, never as
// markup; one slow or failed answer never stops the others; a hidden page asks nothing.

'use strict';

const STATUS_EVERY_MS = 2000;
const ANSWER_MS_MAX = 30000;
const AWAY_MS_MAX = 30000;            // back-off while the daemon is away: 2, 4, 8, ... seconds, at most this
const HISTORY_POINTS_MAX = 240;       // full: every other point goes, so a curve always reaches back to the page's opening
const SHEET_PICTURES = 12;
const QUARANTINE_ROWS_MAX = 50;
const GENERATION_ROWS = 8;
const EVENT_ROWS_MAX = 30;
const TEXT_CHARS_MAX = 300;
const BUSY_TRIES_MAX = 4;

const byId = (id) => document.getElementById(id);

// --- Elements and text

/** An element with properties (`class` and `data-*` as attributes) and children, strings among them as text. */
function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'class' || name.includes('-')) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Writes only what changed, so that a reader's selection and a screen reader's place are kept. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setState(element, state) {
  if (element.dataset.state !== state) element.dataset.state = state;
}

/** Text of a stranger: controls, direction marks and invisible characters are shown for what they are. */
function visible(text) {
  const name = (character) => `\u27e8U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}\u27e9`;
  const shown = String(text).replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu, name);
  return shown.length > TEXT_CHARS_MAX ? `${shown.slice(0, TEXT_CHARS_MAX)}\u2026` : shown;
}

const pathOf = (path) => el('span', { class: 'path', title: visible(path) }, visible(path));
const baseName = (path) => path.split('/').pop();

const count = (n) => n.toLocaleString('en');
const decimals = (n, digits) => n.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
const significant = (n) => n.toLocaleString('en', { maximumSignificantDigits: 3 });
const share = (n) => n.toLocaleString('en', { style: 'percent', maximumFractionDigits: 0 });
const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

function bytes(n) {
  const power = n < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(n) / 10));
  return `${significant(n / 1024 ** power)} ${['bytes', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
}

function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return hours < 48 ? `${hours} h ${minutes} min` : plural(Math.floor(hours / 24), 'day');
}

const clockTime = (date) => date.toLocaleTimeString('en-GB');

/** When something was, kept true by `refreshTimes`. */
function timeOf(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return el('span', { class: 'when' }, visible(text));
  const element = el('time', { class: 'when ago', dateTime: date.toISOString(), title: date.toLocaleString('en-GB') });
  setText(element, ago(date));
  return element;
}

function ago(date) {
  const seconds = (Date.now() - date.getTime()) / 1000;
  if (seconds < 10) return 'just now';
  return seconds < 48 * 3600 ? `${duration(seconds)} ago` : date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
}

function refreshTimes() {
  for (const element of document.querySelectorAll('time.ago')) setText(element, ago(new Date(element.dateTime)));
}

// --- The API

/** An answer of the daemon that says why it can not do what was asked (RFC 9457). */
class Problem extends Error {
  constructor(status, body) {
    super(visible([body.detail ?? body.title ?? `status ${status}`, body.hint].filter(Boolean).join('. ')));
    this.status = status;
    this.retryAfterS = body.retry_after_s ?? null;
  }
}

async function api(path, { signal, ...request } = {}) {
  const limit = AbortSignal.timeout(ANSWER_MS_MAX);
  const response = await fetch(`api/v1/${path}`, { ...request, signal: signal ? AbortSignal.any([signal, limit]) : limit });
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response.json();
}

const post = (path, body, options) =>
  api(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), ...options });

const pictureUrl = (stream, id) => `api/v1/samples/${id}/picture?stream=${encodeURIComponent(stream)}`;

// --- What is asked, and how often

let status = null;                    // the last answer of GET status
let lastHeard = null;
let failures = 0;                     // answers missed in a row
let asking = false;
let askTimer = 0;
let askAt = 0;
let chosen = null;                    // the name of the stream that is shown

/** Asks for the status, shows it, and asks again; later and later while the daemon is away. */
async function ask() {
  clearTimeout(askTimer);
  if (document.hidden || asking) return;
  asking = true;
  try {
    status = await api('status');
    lastHeard = new Date();
    failures = 0;
    remember(status);
    show();
    follow();
  } catch (error) {
    failures += 1;
    showAway(error);
    unfollow();
  }
  const wait = failures === 0 ? STATUS_EVERY_MS : Math.min(AWAY_MS_MAX, 1000 * 2 ** failures);
  asking = false;
  askAt = Date.now() + wait;
  askTimer = setTimeout(ask, wait);
}

const parts = new Map();

/** Asks again for a part of the page when `signature` says that it changed, but not within `gap` of the last time. */
async function keep(part, signature, gap, refresh) {
  const known = parts.get(part) ?? { signature: null, at: 0, asking: false };
  parts.set(part, known);
  if (known.asking || known.signature === signature || Date.now() - known.at < gap) return;
  known.asking = true;
  const isWanted = () => parts.get(part) === known;
  try {
    const draw = await refresh(chosen);
    if (isWanted()) draw();
    known.signature = signature;
  } catch (error) {
    // Asked for again after the gap; whether the daemon is there is told by its status.
    if (isWanted() && error instanceof Problem) setText(byId(`${part}-note`), error.message);
    known.signature = null;
  }
  Object.assign(known, { asking: false, at: Date.now() });
}

/** Shows another stream; what is on its way for the one before is not drawn any more. */
function choose(name) {
  if (chosen === name) return;
  chosen = name;
  for (const part of ['novel', 'newest', 'generations']) {
    parts.delete(part);
    byId(part).replaceChildren();
    setText(byId(`${part}-note`), '');
  }
  forgetSearch();
}

// --- Health

/** How a stream is: a state for the eye, and words. */
function condition(stream) {
  if (stream.state.startsWith('failed')) return ['bad', `has ${visible(stream.state)}`];
  if (stream.serving_failure) return ['bad', `can not answer queries: ${visible(stream.serving_failure)}`];
  if (stream.ingest_paused) return ['warn', `takes no files: ${visible(stream.ingest_paused)}`];
  switch (stream.state) {
    case 'learning': return ['alive', 'is learning'];
    case 'waiting': return ['quiet', 'waits for samples'];
    case 'bored': return ['quiet', 'rests: every sample has been replayed often enough'];
    default: return ['warn', `is ${visible(stream.state)}`];
  }
}

function health(streams) {
  if (streams.length === 0) return ['quiet', 'Running, with no stream'];
  const all = streams.map((stream) => [stream.name, ...condition(stream)]);
  for (const worst of ['bad', 'warn']) {
    const found = all.filter(([, state]) => state === worst);
    if (found.length > 0) return [worst, found.map(([name, , words]) => `${name} ${words}`).join('; ')];
  }
  const learning = all.filter(([, state]) => state === 'alive').length;
  if (all.length === 1) return [all[0][1], `Healthy; ${all[0][0]} ${all[0][2]}`];
  return [learning > 0 ? 'alive' : 'quiet', `Healthy; ${learning} of ${plural(all.length, 'stream')} learning`];
}

function showHealth(state, words, title) {
  setState(byId('health'), state);
  setText(byId('health'), words);
  document.title = `${title} \u00b7 curiod`;
  showIcon(state);
}

function showAway(error) {
  const why = error instanceof Problem ? `The daemon answers that ${error.message}` : 'The daemon does not answer';
  showHealth('away', lastHeard ? `${why}; last heard at ${clockTime(lastHeard)}` : why, 'away');
  byId('ask-again').hidden = false;
  byId('main').classList.toggle('stale', status !== null);
}

/** The part of the top that changes by itself: time up, or time to the next try. */
function tick() {
  const left = Math.max(0, Math.ceil((askAt - Date.now()) / 1000));
  const about = failures > 0 ? `asking again in ${left} s` : status ? `${visible(status.version)} \u00b7 up ${duration(status.uptime_s)}` : '';
  setText(byId('about'), about);
  refreshTimes();
}

let iconState = null;

/** A dot in the tab's title that says the same as the one on the page. */
function showIcon(state) {
  if (iconState === state) return;
  iconState = state;
  const fill = { alive: '#0b8a7c', warn: '#c77d0a', bad: '#c8382c', away: 'none' }[state] ?? '#8a857a';
  const dot = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><circle cx="8" cy="8" r="6" fill="${fill}" stroke="${fill === 'none' ? '#c8382c' : fill}" stroke-width="2"/></svg>`;
  const href = URL.createObjectURL(new Blob([dot], { type: 'image/svg+xml' }));
  const link = document.querySelector('link[rel=icon]') ?? document.head.appendChild(el('link', { rel: 'icon', type: 'image/svg+xml' }));
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = href;
}

// --- Curves

const histories = new Map();

/** Adds the status to each stream's curves. */
function remember({ streams }) {
  for (const stream of streams) {
    const history = histories.get(stream.name) ?? { every: 1, skipped: 0, points: [] };
    histories.set(stream.name, history);
    history.latest = { at: Date.now(), stream };
    history.skipped += 1;
    if (history.skipped < history.every) continue;
    history.skipped = 0;
    history.points.push(history.latest);
    if (history.points.length > HISTORY_POINTS_MAX) {
      history.points = history.points.filter((_, index) => index % 2 === 0);
      history.every *= 2;
    }
  }
}

/** What a figure was, oldest first: `[seconds, value]`. */
function curveOf(figure, name) {
  const { points, latest } = histories.get(name);
  const all = points.at(-1) === latest ? points : [...points, latest];
  const known = all.filter(({ stream }) => figure.curve(stream) !== null);
  return known.map(({ at, stream }) => [at / 1000, figure.curve(stream)]);
}

function drawCurve(element, figure, curve) {
  if (curve.length < 2) {
    element.replaceChildren();
    element.setAttribute('aria-label', `${figure.name}: no history yet`);
    return;
  }
  const values = curve.map(([, value]) => value);
  let low = Math.min(...values, figure.low ?? Infinity, figure.level ?? Infinity);
  let high = Math.max(...values, figure.high ?? -Infinity, figure.level ?? -Infinity);
  if (high - low < 1e-9) [low, high] = figure.low === undefined ? [low - 1, high + 1] : [low, low + 1];
  const [start, end] = [curve[0][0], curve.at(-1)[0]];
  const x = (at) => (2 + 94 * ((at - start) / (end - start || 1))).toFixed(2);
  const y = (value) => (29 - 26 * ((value - low) / (high - low))).toFixed(2);
  const line = curve.map(([at, value]) => `${x(at)},${y(value)}`).join(' ');
  const [lastX, lastY] = [x(end), y(values.at(-1))];
  const level = figure.level === undefined ? [] : [svg('line', { class: 'level', x1: 0, x2: 100, y1: y(figure.level), y2: y(figure.level) })];
  element.replaceChildren(
    ...level,
    svg('polygon', { points: `${x(start)},32 ${line} ${lastX},32` }),
    svg('polyline', { points: line }),
    svg('line', { class: 'now', x1: lastX, x2: lastX, y1: lastY, y2: lastY }),
  );
  element.setAttribute('aria-label', `${figure.name} over the last ${duration(end - start)}: between ${significant(Math.min(...values))} and ${significant(Math.max(...values))}, now ${significant(values.at(-1))}`);
}

/** What a figure was when its curve begins. */
function since(curve, show) {
  if (curve.length < 2) return 'since its first step';
  const [at, value] = curve[0];
  return `was ${show(value)} ${duration(Date.now() / 1000 - at)} ago`;
}

const orNone = (value, show) => (value === null ? '\u2013' : show(value));

/** The figures with a curve. `low`, `high`, `level`: what the curve's frame always holds. */
const FIGURES = [
  {
    name: 'Files taken',
    value: (s) => count(s.sources_accepted),
    beside: (s) => (s.sources_queued > 0 ? `${count(s.sources_queued)} waiting` : 'none waiting'),
    curve: (s) => s.sources_accepted,
  },
  {
    name: 'Step',
    value: (s) => count(s.step),
    beside: (s) => `${significant(s.steps_per_s)} a second`,
    curve: (s) => s.steps_per_s,
    low: 0,
  },
  {
    name: 'Duty cycle',
    value: (s) => share(s.duty_cycle),
    beside: () => 'of the last minute',
    curve: (s) => s.duty_cycle,
    low: 0,
    high: 1,
  },
  {
    name: 'Loss',
    value: (s) => orNone(s.loss, (n) => decimals(n, 3)),
    beside: (s, curve) => (s.loss === null ? 'none yet' : since(curve, (n) => decimals(n, 3))),
    curve: (s) => s.loss,
  },
  {
    name: 'Rank',
    value: (s) => orNone(s.rank, (n) => decimals(n, 1)),
    beside: (s, curve) => (s.rank === null ? 'none yet' : since(curve, (n) => decimals(n, 1))),
    curve: (s) => s.rank,
  },
  {
    name: 'Surprise',
    value: (s) => orNone(s.surprise, (n) => decimals(n, 2)),
    beside: (s) => (s.surprise === null ? 'none yet' : s.surprise > 1.05 ? 'new files are harder' : s.surprise < 0.95 ? 'new files are easier' : 'new files are as expected'),
    curve: (s) => s.surprise,
    level: 1,
  },
];

function makeFigure(figure) {
  const value = el('p', { class: 'value' });
  const beside = el('p', { class: 'beside' });
  const spark = svg('svg', { class: 'spark', viewBox: '0 0 100 32', preserveAspectRatio: 'none', role: 'img' });
  byId('figures').append(el('div', { class: 'figure' }, el('h3', {}, figure.name), value, beside, spark));
  return (stream) => {
    const curve = curveOf(figure, stream.name);
    setText(value, figure.value(stream));
    setText(beside, figure.beside(stream, curve));
    drawCurve(spark, figure, curve);
  };
}

// --- Facts

/** Numbers without a curve: groups of a label and how to read it; null leaves the line out. */
const FACTS = {
  Files: [
    ['Taken', (s) => count(s.sources_accepted)],
    ['Duplicates', (s) => count(s.sources_duplicate)],
    ['In quarantine', (s) => count(s.sources_quarantined)],
    ['Waiting', (s) => count(s.sources_queued)],
  ],
  'Replay buffer': [
    ['Samples', (s) => count(s.samples)],
    ['Held out for the exam', (s) => count(s.exam_samples)],
    ['Size', (s) => bytes(s.replay_bytes)],
    ['On disk', (s) => bytes(s.replay_disk_bytes)],
    ['Replayed', (s) => plural(s.samples_drawn, 'time')],
  ],
  'Answers to queries': [
    ['Generation', (s) => (s.generation === null ? 'none yet' : count(s.generation))],
    ['Space', (s) => s.space],
    ['Candidates since the start', (s) => `${count(s.candidates_accepted)} accepted, ${count(s.candidates_rejected)} rejected`],
    ['Requests waiting', (s) => (s.encode_queue > 0 ? count(s.encode_queue) : null)],
  ],
};

function makeFacts([title, lines]) {
  const list = el('dl');
  const group = el('div', {}, el('h3', {}, title), list);
  byId('facts').append(group);
  const updates = lines.map(([label, read]) => {
    const value = el('dd');
    const line = el('div', {}, el('dt', {}, label), value);
    list.append(line);
    return (stream) => {
      const text = read(stream);
      line.hidden = text === null;
      setText(value, text ?? '');
    };
  });
  return [group, (stream) => updates.forEach((update) => update(stream))];
}

/** How far the stream is on its way to answering: to its first generation, or to a whole index. */
function makeReach(group) {
  const bar = el('progress');
  const words = el('p', { class: 'said' });
  group.append(bar, words);
  return (stream) => {
    const [done, all, text] = reach(stream);
    Object.assign(bar, { max: Math.max(1, all), value: Math.min(done, all) });
    bar.setAttribute('aria-label', text);
    setText(words, text);
  };
}

function reach(s) {
  if (s.generation !== null) {
    const part = s.index_total > 0 ? ` (${share(Math.floor((100 * s.index_covered) / s.index_total) / 100)})` : '';
    return [s.index_covered, s.index_total, `${count(s.index_covered)} of ${plural(s.index_total, 'sample')} searchable${part}`];
  }
  if (s.step < s.first_candidate_steps) {
    return [s.step, s.first_candidate_steps, `The first candidate is judged at step ${count(s.first_candidate_steps)}; this is step ${count(s.step)}`];
  }
  if (s.verdict !== null) return [1, 1, `No candidate has passed yet: ${visible(s.verdict)}`];
  return [1, 1, 'The gate judges the first candidate'];
}

// --- The stream

const updates = [];

function makeStream() {
  updates.push(...FIGURES.map(makeFigure));
  for (const entry of Object.entries(FACTS)) {
    const [group, update] = makeFacts(entry);
    updates.push(update);
    if (entry[0] === 'Answers to queries') updates.push(makeReach(group));
  }
}

function show() {
  const { streams } = status;
  const [state, words] = health(streams);
  showHealth(state, words, { alive: 'learning', warn: 'needs a look', bad: 'failed' }[state] ?? 'idle');
  byId('ask-again').hidden = true;
  byId('main').classList.remove('stale');
  byId('no-streams').hidden = streams.length > 0;
  byId('log').hidden = false;
  if (!streams.some(({ name }) => name === chosen)) choose(streams[0]?.name ?? null);
  showStreamNames(streams);
  const stream = streams.find(({ name }) => name === chosen);
  byId('stream').hidden = !stream;
  if (stream) showStream(stream);
  const rejected = streams.map((each) => each.sources_quarantined);
  keep('quarantine', rejected.join(), 5000, refreshQuarantine);
  tick();
}

function showStreamNames(streams) {
  const nav = byId('streams');
  nav.hidden = streams.length < 2;
  const names = streams.map(({ name }) => name).join();
  if (nav.dataset.names !== names) {
    nav.dataset.names = names;
    nav.replaceChildren(...streams.map(({ name }) => el('a', { href: `#/${name}` }, name)));
  }
  streams.forEach((stream, index) => {
    const link = nav.children[index];
    const [state, words] = condition(stream);
    setState(link, state);
    link.title = `${stream.name} ${words}`;
    if (stream.name === chosen) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  });
}

function showStream(stream) {
  setText(byId('stream-name'), stream.name);
  const [, words] = condition(stream);
  const empty = stream.sources_accepted === 0 ? '; nothing has been taken yet: copy pictures into its inbox' : '';
  setText(byId('stream-doing'), `${words.replace(/:.*/s, '')}${empty}`);
  showWarnings(stream);
  updates.forEach((update) => update(stream));

  const { generation, index_covered: covered } = stream;
  keep('generations', [generation, stream.candidates_accepted, stream.candidates_rejected].join(), 1000, refreshGenerations);
  keep('newest', `${stream.sources_accepted}`, 10000, refreshNewest);
  showNewest(chosen);
  if (generation !== null) keep('novel', `${generation}/${covered}`, 10000, refreshNovel);
  else showSheet('novel', chosen, [], 'Known once a generation is published.');
}

function showWarnings(stream) {
  const warnings = [
    stream.state.startsWith('failed') && ['bad', `Learning has ${visible(stream.state)}`],
    stream.serving_failure && ['bad', `Queries fail: ${visible(stream.serving_failure)}`],
    stream.ingest_paused && ['warn', `No files are taken: ${visible(stream.ingest_paused)}`],
  ].filter(Boolean);
  const list = byId('warnings');
  list.hidden = warnings.length === 0;
  if (list.dataset.said !== warnings.join()) {
    list.dataset.said = warnings.join();
    list.replaceChildren(...warnings.map(([state, text]) => el('li', { 'data-state': state }, text)));
  }
}

// --- Contact sheets

const canHover = matchMedia('(hover: hover)').matches;

/** One picture of a sheet: a button that asks for its neighbours. */
function makePicture(stream, { id, path, words }) {
  const picture = el('img', { src: pictureUrl(stream, id), alt: '', loading: 'lazy', decoding: 'async', draggable: false, width: 84, height: 84 });
  const caption = el('span', { class: 'caption' }, words ? el('b', {}, words) : null, el('span', { class: 'path' }, visible(baseName(path))));
  const button = el('button', { type: 'button', title: `${visible(path)} (sample ${id})` }, picture, caption);
  button.setAttribute('aria-label', [`Neighbours of ${visible(path)}`, words].filter(Boolean).join(', '));
  picture.addEventListener('error', () => picture.replaceWith(el('span', { class: 'gone' }, 'gone')));
  button.addEventListener('click', () => searchSample(stream, id, path));
  return el('li', { 'data-sample': `${stream}/${id}` }, button);
}

/** Shows pictures in a sheet; those that were there stay. One that is pointed at waits, so that nobody presses another. */
function showSheet(name, stream, pictures, note) {
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

async function refreshNovel(stream) {
  const { generation, results } = await post('novelty', { model: stream, top: SHEET_PICTURES });
  const pictures = results.map(({ id, path, novelty }) => ({ id, path, words: decimals(novelty, 3) }));
  const note = pictures.length > 0
    ? `Farthest from their 10 nearest, as generation ${count(generation)} sees them; the number is the share of samples that are less novel.`
    : 'Too few samples to say.';
  return () => showSheet('novel', stream, pictures, note);
}

/** The newest samples of each stream that the page has heard of, newest first. */
const newest = new Map();

function taken(stream, id, path, at) {
  const known = newest.get(stream) ?? [];
  if (known.some((sample) => sample.id === id)) return;
  newest.set(stream, [...known, { id, path, words: clockTime(at) }].sort((a, b) => b.id - a.id).slice(0, SHEET_PICTURES));
}

function showNewest(stream) {
  const pictures = newest.get(stream) ?? [];
  showSheet('newest', stream, pictures, pictures.length > 0 ? 'As they are kept; each as soon as it is taken.' : 'Each appears here as soon as it is taken.');
}

/**
 * Asks for the newest samples that no event told of. Samples are numbered from 1 and a picture is one sample, so the
 * newest has the number of files taken; one that is gone again is left out.
 */
async function refreshNewest(stream) {
  const last = status.streams.find(({ name }) => name === stream).sources_accepted;
  const known = new Set(newest.get(stream)?.map(({ id }) => id));
  const ids = Array.from({ length: Math.min(SHEET_PICTURES, last) }, (_, below) => last - below).filter((id) => !known.has(id));
  const samples = await Promise.allSettled(ids.map((id) => api(`samples/${id}?stream=${encodeURIComponent(stream)}`)));
  return () => {
    for (const { value } of samples) if (value) taken(stream, value.id, value.path, new Date(value.taken_at));
    showNewest(stream);
  };
}

// --- Neighbours of a picture

let searching = null;
let queryUrl = null;

function searchPicture(file) {
  const type = file.type.startsWith('image/') ? file.type : 'application/octet-stream';
  const stream = chosen;
  if (!stream) return;
  if (queryUrl) URL.revokeObjectURL(queryUrl);
  queryUrl = URL.createObjectURL(file);
  const path = `search?model=${encodeURIComponent(stream)}&k=${SHEET_PICTURES}`;
  search(stream, file.name || 'the pasted picture', queryUrl, (signal) => api(path, { method: 'POST', headers: { 'content-type': type }, body: file, signal }));
}

function searchSample(stream, id, path) {
  search(stream, path, pictureUrl(stream, id), (signal) => post('search', { model: stream, id, k: SHEET_PICTURES }, { signal }));
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

function forgetSearch() {
  searching?.abort();
  searching = null;
  byId('query').hidden = true;
  setState(byId('search-note'), '');
  showSheet('hits', chosen, [], 'The samples most like it, with their cosine similarity, appear here. The picture is not kept.');
}

/** Asks again when the daemon says that it is busy and when to come back. */
async function patiently(request, say) {
  for (let tries = 1; ; tries += 1) {
    try {
      return await request();
    } catch (error) {
      const busy = error instanceof Problem && (error.status === 429 || error.status === 503) && error.retryAfterS !== null;
      if (!busy || error.retryAfterS > 5 || tries === BUSY_TRIES_MAX) throw error;
      say(`${error.message}. Asking again\u2026`);
      await new Promise((resolve) => setTimeout(resolve, 1000 * error.retryAfterS));
    }
  }
}

function showQuery(name, preview) {
  const picture = byId('query-picture');
  picture.hidden = false;
  picture.src = preview;
  byId('query').hidden = false;
  byId('query-name').replaceChildren(pathOf(name));
}

function listenForPictures() {
  const input = byId('file');
  const veil = byId('drop-veil');
  const isFiles = (event) => event.dataTransfer?.types.includes('Files') && chosen !== null;
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
  addEventListener('paste', (event) => take(event.clipboardData?.files ?? []));
}

// --- Generations

let allGenerations = false;

async function refreshGenerations(stream) {
  const { models, verdicts } = await api(`models/${encodeURIComponent(stream)}`);
  const kept = new Set(models.map(({ generation }) => generation));
  const rows = [
    ...models.map((model) => ({ ...model, at: model.created_at, said: model.verdict })),
    ...verdicts.filter(({ generation }) => !kept.has(generation)).map((verdict) => ({ ...verdict, said: verdict.reason })),
  ].sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
  return () => drawGenerations(rows, models.length);
}

function drawGenerations(rows, kept) {
  const note = byId('generations-note');
  const shown = allGenerations ? rows : rows.slice(0, GENERATION_ROWS);
  byId('generations').replaceChildren(...shown.map(generationRow));
  setText(note, kept === 0 && rows.length === 0 ? 'None yet, and no candidate has been judged.' : `${plural(kept, 'generation')} kept; every candidate with the gate\u2019s verdict on it, newest first.`);
  if (rows.length > shown.length) {
    const more = el('button', { type: 'button' }, `Show all ${count(rows.length)}`);
    more.addEventListener('click', () => {
      allGenerations = true;
      drawGenerations(rows, kept);
    });
    byId('generations').append(el('li', {}, more));
  }
}

function generationRow({ generation, step, at, said, retrieval, serving, aliases = [] }) {
  const tags = [serving ? 'serving' : null, ...aliases.filter((alias) => alias !== 'latest')].filter(Boolean);
  const name = generation === null
    ? el('span', { class: 'name rejected' }, 'not published')
    : el('span', { class: 'name' }, `Generation ${count(generation)}`, ...tags.map((tag) => el('span', { class: 'tag' }, visible(tag))));
  const recall = typeof retrieval === 'number' ? el('span', { class: 'aside', title: 'Exam: share of views that find their picture\u2019s other view first' }, `R@1 ${decimals(retrieval, 3)}`) : el('span');
  return el('li', {}, name, el('span', { class: 'aside' }, `step ${count(step)}`), recall, timeOf(at), el('span', { class: 'said' }, visible(said)));
}

// --- Quarantine

async function refreshQuarantine() {
  const entries = await api('quarantine');
  entries.sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
  const rows = entries.slice(0, QUARANTINE_ROWS_MAX);
  return () => {
    byId('quarantine').replaceChildren(...rows.map(quarantineRow));
    const shown = entries.length > rows.length ? `; the newest ${count(rows.length)} are shown` : '';
    setText(byId('quarantine-note'), entries.length === 0 ? 'Empty: no file was refused.' : `${plural(entries.length, 'file')} could not be learnt from${shown}. The rest goes on.`);
  };
}

function quarantineRow({ stream, path, reason, detail, bytes: size, at }) {
  const of = status.streams.length > 1 ? `${stream}: ` : '';
  return el(
    'li', {},
    el('span', {}, of, pathOf(path)),
    el('span', { class: 'aside' }, `${bytes(size)}, `, timeOf(at)),
    el('span', { class: 'said' }, el('span', { class: 'reason' }, visible(reason).replaceAll('_', ' ')), `: ${visible(detail)}`),
  );
}

// --- Events

let source = null;
let sourceOpenedAt = 0;
const rows = [];

/** What an event says: a state for the eye, words, and the file that it is about. */
const EVENTS = {
  accepted: (e, n) => ['', n > 1 ? `${count(n)} files taken, the last ` : 'taken: ', e.path],
  duplicate: (e, n) => ['', n > 1 ? `${count(n)} files known already, the last ` : 'known already: ', e.path],
  quarantined: (e, n) => ['warn', n > 1 ? `${count(n)} files in quarantine, the last ` : `in quarantine (${visible(e.reason).replaceAll('_', ' ')}): `, e.path],
  ingest_paused: (e) => ['warn', `no more files are taken: ${visible(e.reason)}`],
  ingest_resumed: () => ['', 'files are taken again'],
  verdict: (e) => ['', `candidate of step ${count(e.step)} ${e.accepted ? 'accepted' : 'rejected'}: ${visible(e.verdict).replace(/^(accepted|rejected): /, '')}`],
  serving: (e) => ['alive', `generation ${count(e.generation)} answers queries (space ${visible(e.space)})`],
  failed: (e) => ['bad', `failed: ${visible(e.detail)}`],
  missed: (e) => ['', `${plural(e.events, 'event')} came too fast to be told`],
};

/** Follows the events while the daemon is there and the page is seen. */
function follow() {
  const isOpen = source && source.readyState !== EventSource.CLOSED;
  if (isOpen || Date.now() - sourceOpenedAt < 5000) return;
  sourceOpenedAt = Date.now();
  source = new EventSource('api/v1/events');
  for (const type of Object.keys(EVENTS)) source.addEventListener(type, (message) => happened(type, JSON.parse(message.data)));
  source.addEventListener('open', drawEvents);
  source.addEventListener('error', drawEvents);
}

function unfollow() {
  source?.close();
  source = null;
  sourceOpenedAt = 0;
  drawEvents();
}

let drawing = 0;

/** Adds an event; ten thousand files dropped at once are one row that counts. */
function happened(type, event) {
  if (type === 'accepted') for (const id of event.samples) taken(event.stream, id, event.path, new Date());
  const last = rows[0];
  const isMany = type === 'accepted' || type === 'duplicate' || type === 'quarantined';
  if (isMany && last?.type === type && last.event.stream === event.stream) {
    Object.assign(last, { event, at: new Date(), n: last.n + 1 });
  } else {
    rows.unshift({ type, event, at: new Date(), n: 1 });
    rows.length = Math.min(rows.length, EVENT_ROWS_MAX);
  }
  drawing ||= setTimeout(drawEvents, 300);
}

function drawEvents() {
  clearTimeout(drawing);
  drawing = 0;
  const isOpen = source?.readyState === EventSource.OPEN;
  const waits = rows.length > 0 ? 'Since this page was opened, newest first.' : 'What happens from now on appears here.';
  setText(byId('events-note'), isOpen ? waits : 'Not following events now.');
  byId('events').replaceChildren(...rows.map(eventRow));
}

function eventRow({ type, event, at, n }) {
  const [state, words, path] = EVENTS[type](event, n);
  const of = event.stream && status?.streams.length > 1 ? `${event.stream}: ` : '';
  const said = el('span', { class: 'said' }, `${of}${words}`, path === undefined ? null : pathOf(path));
  return el('li', { 'data-state': state }, el('time', { class: 'when', dateTime: at.toISOString() }, clockTime(at)), said);
}

// --- Start

function chooseByAddress() {
  if (location.hash.startsWith('#/')) choose(location.hash.slice(2));
  if (status) show();
}

showIcon('unknown');
makeStream();
listenForPictures();
chooseByAddress();
addEventListener('hashchange', chooseByAddress);
byId('ask-again').addEventListener('click', ask);
document.addEventListener('visibilitychange', () => (document.hidden ? unfollow() : ask()));
setInterval(tick, 1000);
ask();

// How a stream is: its health, its curves, its facts.

import { ago, byId, bytes, count, decimals, duration, el, plural, setText, share, significant, svg, visible } from './elements.js';

const HISTORY_POINTS_MAX = 240;       // full: every other point goes, so a curve always reaches back to the page's opening

// --- Health

/** How a stream is: a state for the eye, and words. */
export function condition(stream) {
  if (stream.state.startsWith('failed')) return ['bad', `has ${visible(stream.state)}`];
  if (stream.serving_failure) return ['bad', `can not answer queries: ${visible(stream.serving_failure)}`];
  if (stream.ingest_paused) return ['warn', `takes no files: ${visible(stream.ingest_paused)}`];
  if (stream.inboxes?.some((inbox) => !inbox.present)) return ['warn', 'has lost an inbox'];
  switch (stream.state) {
    case 'learning': return ['alive', 'is learning'];
    case 'waiting': return ['quiet', 'waits for samples'];
    case 'bored': return ['quiet', 'rests: every sample has been replayed often enough'];
    default: return ['warn', `is ${visible(stream.state)}`];
  }
}

export function health(streams) {
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

// --- Curves

const histories = new Map();

/** Adds the status to each stream's curves. */
export function remember({ streams }) {
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
export const FIGURES = [
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

export function makeFigure(figure) {
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
export const FACTS = {
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

export function makeFacts([title, lines]) {
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
export function makeReach(group) {
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

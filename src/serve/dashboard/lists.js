// The lists of generations and of files in quarantine.

import { api } from './api.js';
import { byId, bytes, count, decimals, el, pathOf, plural, setText, timeOf, visible } from './elements.js';
import { modalityOf, page } from './page.js';

const QUARANTINE_ROWS_MAX = 50;
const GENERATION_ROWS = 8;

let allGenerations = false;

export async function refreshGenerations(stream) {
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

function generationRow({ generation, step, at, said, retrieval, serving, pinned, withdrawn, aliases = [] }) {
  const decided = [serving && 'serving', pinned && 'pinned', withdrawn && 'rolled back from'];
  const tags = [...decided, ...aliases.filter((alias) => alias !== 'latest')].filter(Boolean);
  const name = generation === null
    ? el('span', { class: 'name rejected' }, 'not published')
    : el('span', { class: 'name' }, `Generation ${count(generation)}`, ...tags.map((tag) => el('span', { class: 'tag' }, visible(tag))));
  const [measure, meaning] = modalityOf(page.chosen) === 'transition'
    ? ['actions', 'Exam: share of actions that are told from the states before and after']
    : ['R@1', 'Exam: share of views that find their sample\u2019s other view first'];
  const recall = typeof retrieval === 'number' ? el('span', { class: 'aside', title: meaning }, `${measure} ${decimals(retrieval, 3)}`) : el('span');
  return el('li', {}, name, el('span', { class: 'aside' }, `step ${count(step)}`), recall, timeOf(at), el('span', { class: 'said' }, visible(said)));
}

// --- Quarantine

export async function refreshQuarantine() {
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
  const of = page.status.streams.length > 1 ? `${stream}: ` : '';
  return el(
    'li', {},
    el('span', {}, of, pathOf(path)),
    el('span', { class: 'aside' }, `${bytes(size)}, `, timeOf(at)),
    el('span', { class: 'said' }, el('span', { class: 'reason' }, visible(reason).replaceAll('_', ' ')), `: ${visible(detail)}`),
  );
}

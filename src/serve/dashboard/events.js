// What happens, as the daemon tells it.

import { events } from './api.js';
import { byId, clockTime, count, el, pathOf, plural, setText, visible } from './elements.js';
import { page } from './page.js';
import { taken } from './pictures.js';

const EVENT_ROWS_MAX = 30;

let following = null;
let followedAt = 0;
let isOpen = false;
const rows = [];

/** What an event says: a state for the eye, words, and the file that it is about. */
const EVENTS = {
  accepted: (e, n) => ['', n > 1 ? `${count(n)} files taken, the last ` : 'taken: ', e.path],
  duplicate: (e, n) => ['', n > 1 ? `${count(n)} files known already, the last ` : 'known already: ', e.path],
  quarantined: (e, n) => ['warn', n > 1 ? `${count(n)} files in quarantine, the last ` : `in quarantine (${visible(e.reason).replaceAll('_', ' ')}): `, e.path],
  ingest_paused: (e) => ['warn', `no more files are taken: ${visible(e.reason)}`],
  ingest_resumed: () => ['', 'files are taken again'],
  inbox_gone: (e) => ['warn', `the inbox ${visible(e.inbox)} is gone`],
  inbox_back: (e) => ['', `the inbox ${visible(e.inbox)} is back`],
  verdict: (e) => ['', `candidate of step ${count(e.step)} ${e.accepted ? 'accepted' : 'rejected'}: ${visible(e.verdict).replace(/^(accepted|rejected): /, '')}`],
  serving: (e) => ['alive', `generation ${count(e.generation)} answers queries (space ${visible(e.space)})`],
  drift: (e) => ['warn', `the stream has changed: ${visible(e.detail)}`],
  outlier: (e) => ['warn', `sample ${count(e.sample)} is like nothing else held: `, e.path ?? ''],
  failed: (e) => ['bad', `failed: ${visible(e.detail)}`],
  missed: (e) => ['', `${plural(e.events, 'event')} came too fast to be told`],
};

/** Follows the events while the daemon is there and the page is seen. */
export async function follow() {
  if (following || Date.now() - followedAt < 5000) return;
  const mine = following = new AbortController();
  followedAt = Date.now();
  const opened = () => { isOpen = true; drawEvents(); };
  try {
    for await (const event of events(mine.signal, opened)) if (event.type in EVENTS) happened(event.type, event);
  } catch {
    // Whether the daemon is there is told by its status; the events are followed again with it.
  }
  if (following === mine) unfollow(followedAt);
}

export function unfollow(lastAt = 0) {
  following?.abort();
  following = null;
  followedAt = lastAt;
  isOpen = false;
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
  const waits = rows.length > 0 ? 'Since this page was opened, newest first.' : 'What happens from now on appears here.';
  setText(byId('events-note'), isOpen ? waits : 'Not following events now.');
  byId('events').replaceChildren(...rows.map(eventRow));
}

function eventRow({ type, event, at, n }) {
  const [state, words, path] = EVENTS[type](event, n);
  const of = event.stream && page.status?.streams.length > 1 ? `${event.stream}: ` : '';
  const said = el('span', { class: 'said' }, `${of}${words}`, path === undefined ? null : pathOf(path));
  return el('li', { 'data-state': state }, el('time', { class: 'when', dateTime: at.toISOString() }, clockTime(at)), said);
}

// The daemon's page: asks the public API how things are, and shows it.
// Always true: one slow or failed answer never stops the others; a hidden page asks nothing.

import { Problem, accessKey, api, setAccessKey } from './api.js';
import { byId, clockTime, duration, el, refreshTimes, setState, setText, visible } from './elements.js';
import { follow, unfollow } from './events.js';
import { refreshGenerations, refreshQuarantine } from './lists.js';
import { forget, keep, page } from './page.js';
import { forgetSearch, listenForPictures, refreshNewest, refreshNovel, showNewest, showQuestion, showSheet } from './pictures.js';
import { FACTS, FIGURES, condition, health, makeFacts, makeFigure, makeReach, remember } from './stream.js';

const STATUS_EVERY_MS = 2000;
const AWAY_MS_MAX = 30000;            // back-off while the daemon is away: 2, 4, 8, ... seconds, at most this

// --- What is asked, and how often

let lastHeard = null;
let failures = 0;                     // answers missed in a row
let asking = false;
let askTimer = 0;
let askAt = 0;

/** Asks for the status, shows it, and asks again; later and later while the daemon is away. */
async function ask() {
  clearTimeout(askTimer);
  if (document.hidden || asking) return;
  asking = true;
  try {
    page.status = await api('status');
    lastHeard = new Date();
    failures = 0;
    byId('key-form').hidden = true;
    byId('forget-key').hidden = accessKey() === null;
    remember(page.status);
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

/** Shows another stream; what is on its way for the one before is not drawn any more. */
function choose(name) {
  if (page.chosen === name) return;
  page.chosen = name;
  for (const part of ['novel', 'newest', 'generations']) forget(part);
  forgetSearch();
}

function showHealth(state, words, title) {
  setState(byId('health'), state);
  setText(byId('health'), words);
  document.title = `${title} \u00b7 curiod`;
  showIcon(state);
}

/** Why a key, or another key, is wanted; null where that would not help. */
function keyWanted(error) {
  if (!(error instanceof Problem)) return null;
  if (error.status === 401) return accessKey() ? 'The daemon does not know this key' : 'This daemon asks for a key';
  return error.status === 403 && accessKey() ? 'This key may not read: it lacks the scope read' : null;
}

function showAway(error) {
  const wanted = keyWanted(error);
  const why = wanted ?? (error instanceof Problem ? `The daemon answers that ${error.message}` : 'The daemon does not answer');
  showHealth('away', lastHeard ? `${why}; last heard at ${clockTime(lastHeard)}` : why, 'away');
  byId('ask-again').hidden = false;
  if (wanted) askForKey();
  byId('main').classList.toggle('stale', page.status !== null);
}

// --- The key, where the daemon asks for one

/** Shows where a key is given, unless somebody is typing one. */
function askForKey() {
  const form = byId('key-form');
  if (!form.hidden) return;
  form.hidden = false;
  byId('forget-key').hidden = accessKey() === null;
  byId('key').focus();
}

function listenForKey() {
  byId('key-form').addEventListener('submit', (event) => {
    event.preventDefault();
    setAccessKey(byId('key').value.trim());
    byId('key-form').reset();
    ask();
  });
  byId('forget-key').addEventListener('click', () => {
    setAccessKey(null);
    location.reload();
  });
}

/** The part of the top that changes by itself: time up, or time to the next try. */
function tick() {
  const left = Math.max(0, Math.ceil((askAt - Date.now()) / 1000));
  const about = failures > 0 ? `asking again in ${left} s` : page.status ? `${visible(page.status.version)} \u00b7 up ${duration(page.status.uptime_s)}` : '';
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
  const { streams } = page.status;
  const [state, words] = health(streams);
  showHealth(state, words, { alive: 'learning', warn: 'needs a look', bad: 'failed' }[state] ?? 'idle');
  byId('ask-again').hidden = true;
  byId('main').classList.remove('stale');
  byId('no-streams').hidden = streams.length > 0;
  byId('log').hidden = false;
  if (!streams.some(({ name }) => name === page.chosen)) choose(streams[0]?.name ?? null);
  showStreamNames(streams);
  const stream = streams.find(({ name }) => name === page.chosen);
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
    if (stream.name === page.chosen) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  });
}

function showStream(stream) {
  setText(byId('stream-name'), stream.name);
  const [, words] = condition(stream);
  const empty = stream.sources_accepted === 0 ? '; nothing has been taken yet: copy files into its inbox' : '';
  setText(byId('stream-doing'), `${words.replace(/:.*/s, '')}${empty}`);
  showQuestion(stream.modality);
  showWarnings(stream);
  updates.forEach((update) => update(stream));

  const { generation, index_covered: covered } = stream;
  keep('generations', [generation, stream.candidates_accepted, stream.candidates_rejected].join(), 1000, refreshGenerations);
  keep('newest', `${stream.newest_sample}`, 10000, refreshNewest);
  showNewest(page.chosen);
  if (generation !== null) keep('novel', `${generation}/${covered}`, 10000, refreshNovel);
  else showSheet('novel', page.chosen, [], 'Known once a generation is published.');
}

function showWarnings(stream) {
  const warnings = [
    stream.state.startsWith('failed') && ['bad', `Learning has ${visible(stream.state)}`],
    stream.serving_failure && ['bad', `Queries fail: ${visible(stream.serving_failure)}`],
    stream.ingest_paused && ['warn', `No files are taken: ${visible(stream.ingest_paused)}`],
    ...(stream.inboxes ?? []).filter((inbox) => !inbox.present).map((inbox) => ['warn', `The inbox ${visible(inbox.path)} is gone: mount or make it again`]),
  ].filter(Boolean);
  const list = byId('warnings');
  list.hidden = warnings.length === 0;
  if (list.dataset.said !== warnings.join()) {
    list.dataset.said = warnings.join();
    list.replaceChildren(...warnings.map(([state, text]) => el('li', { 'data-state': state }, text)));
  }
}

// --- Start

function chooseByAddress() {
  if (location.hash.startsWith('#/')) choose(location.hash.slice(2));
  if (page.status) show();
}

showIcon('unknown');
makeStream();
listenForPictures();
listenForKey();
chooseByAddress();
addEventListener('hashchange', chooseByAddress);
byId('ask-again').addEventListener('click', ask);
document.addEventListener('visibilitychange', () => (document.hidden ? unfollow() : ask()));
setInterval(tick, 1000);
ask();

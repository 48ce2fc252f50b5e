// Elements, text, numbers and times.
// Always true: text of a stranger is shown through `visible`, and never as markup.

const TEXT_CHARS_MAX = 300;

export const byId = (id) => document.getElementById(id);

/** An element with properties (`class` and `data-*` as attributes) and children, strings among them as text. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === 'class' || name.includes('-')) element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function svg(tag, attributes, ...children) {
  const element = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Writes only what changed, so that a reader's selection and a screen reader's place are kept. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setState(element, state) {
  if (element.dataset.state !== state) element.dataset.state = state;
}

/** Text of a stranger: controls, direction marks and invisible characters are shown for what they are. */
export function visible(text) {
  const name = (character) => `\u27e8U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}\u27e9`;
  const shown = String(text).replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu, name);
  return shown.length > TEXT_CHARS_MAX ? `${shown.slice(0, TEXT_CHARS_MAX)}\u2026` : shown;
}

export const pathOf = (path) => el('span', { class: 'path', title: visible(path) }, visible(path));
export const baseName = (path) => path.split('/').pop();

export const count = (n) => n.toLocaleString('en');
export const decimals = (n, digits) => n.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
export const significant = (n) => n.toLocaleString('en', { maximumSignificantDigits: 3 });
export const share = (n) => n.toLocaleString('en', { style: 'percent', maximumFractionDigits: 0 });
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function bytes(n) {
  const power = n < 1024 ? 0 : Math.min(4, Math.floor(Math.log2(n) / 10));
  return `${significant(n / 1024 ** power)} ${['bytes', 'KiB', 'MiB', 'GiB', 'TiB'][power]}`;
}

export function duration(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return hours < 48 ? `${hours} h ${minutes} min` : plural(Math.floor(hours / 24), 'day');
}

export const clockTime = (date) => date.toLocaleTimeString('en-GB');

/** When something was, kept true by `refreshTimes`. */
export function timeOf(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return el('span', { class: 'when' }, visible(text));
  const element = el('time', { class: 'when ago', dateTime: date.toISOString(), title: date.toLocaleString('en-GB') });
  setText(element, ago(date));
  return element;
}

export function ago(date) {
  const seconds = (Date.now() - date.getTime()) / 1000;
  if (seconds < 10) return 'just now';
  return seconds < 48 * 3600 ? `${duration(seconds)} ago` : date.toLocaleDateString('en-GB', { day: 'numeric', month: 'short', year: 'numeric' });
}

export function refreshTimes() {
  for (const element of document.querySelectorAll('time.ago')) setText(element, ago(new Date(element.dateTime)));
}

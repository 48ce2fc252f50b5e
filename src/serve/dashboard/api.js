// The daemon's public API.
// Always true: an answer is waited for so long and no longer; a refusal is a `Problem` that says why; the key is in no address.

import { visible } from './elements.js';

const ANSWER_MS_MAX = 30000;
const BUSY_TRIES_MAX = 4;

/** An answer of the daemon that says why it can not do what was asked (RFC 9457). */
export class Problem extends Error {
  constructor(status, body) {
    super(visible([body.detail ?? body.title ?? `status ${status}`, body.hint].filter(Boolean).join('. ')));
    this.status = status;
    this.retryAfterS = body.retry_after_s ?? null;
  }
}

const KEY = 'curiod-key';

/** The access key: this tab knows it until it is closed, and nobody else; null where none was given. */
export const accessKey = () => sessionStorage.getItem(KEY);

export function setAccessKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

/** Asks, with the key if there is one. */
async function ask(path, { headers = {}, ...request } = {}) {
  const key = accessKey();
  const response = await fetch(`api/v1/${path}`, { ...request, headers: key ? { ...headers, authorization: `Bearer ${key}` } : headers });
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response;
}

export async function api(path, { signal, ...request } = {}) {
  const limit = AbortSignal.timeout(ANSWER_MS_MAX);
  const response = await ask(path, { ...request, signal: signal ? AbortSignal.any([signal, limit]) : limit });
  return response.json();
}

/** What happens, each as the daemon tells it, until the connection ends (server-sent events). */
export async function* events(signal, opened) {
  const response = await ask('events', { signal });
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ''; ;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split('\n');
    rest = lines.pop();
    for (const line of lines) if (line.startsWith('data:')) yield JSON.parse(line.slice(5));
  }
}

export const post = (path, body, options) =>
  api(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), ...options });

/** Shows a sample's picture. An image's own request takes no key along: with one it is fetched first. */
export async function showPicture(image, stream, id) {
  const path = `samples/${id}/picture?stream=${encodeURIComponent(stream)}`;
  if (!accessKey()) {
    image.src = `api/v1/${path}`;
    return;
  }
  try {
    const response = await ask(path, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });
    const url = URL.createObjectURL(await response.blob());
    image.addEventListener('load', () => URL.revokeObjectURL(url), { once: true });
    image.src = url;
  } catch {
    image.dispatchEvent(new Event('error'));
  }
}

export const sampleContent = (stream, id) => api(`samples/${id}/content?stream=${encodeURIComponent(stream)}`);

/** Asks again when the daemon says that it is busy and when to come back. */
export async function patiently(request, say) {
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

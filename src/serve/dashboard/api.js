// The daemon's public API.
// Always true: an answer is waited for so long and no longer; a refusal is a `Problem` that says why.

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

export async function api(path, { signal, ...request } = {}) {
  const limit = AbortSignal.timeout(ANSWER_MS_MAX);
  const response = await fetch(`api/v1/${path}`, { ...request, signal: signal ? AbortSignal.any([signal, limit]) : limit });
  if (!response.ok) throw new Problem(response.status, await response.json().catch(() => ({})));
  return response.json();
}

export const post = (path, body, options) =>
  api(path, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), ...options });

export const pictureUrl = (stream, id) => `api/v1/samples/${id}/picture?stream=${encodeURIComponent(stream)}`;

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

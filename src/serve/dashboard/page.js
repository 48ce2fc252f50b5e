// What the parts of the page share, and how a part is kept up to date.

import { Problem } from './api.js';
import { byId, setText } from './elements.js';

/** The last answer of GET status, and the name of the stream that is shown. */
export const page = { status: null, chosen: null };

/** The kind of a stream's data; undefined before the first answer. */
export const modalityOf = (stream) => page.status?.streams.find(({ name }) => name === stream)?.modality;

const parts = new Map();

/** Asks again for a part of the page when `signature` says that it changed, but not within `gap` of the last time. */
export async function keep(part, signature, gap, refresh) {
  const known = parts.get(part) ?? { signature: null, at: 0, asking: false };
  parts.set(part, known);
  if (known.asking || known.signature === signature || Date.now() - known.at < gap) return;
  known.asking = true;
  const isWanted = () => parts.get(part) === known;
  try {
    const draw = await refresh(page.chosen);
    if (isWanted()) draw();
    known.signature = signature;
  } catch (error) {
    // Asked for again after the gap; whether the daemon is there is told by its status.
    if (isWanted() && error instanceof Problem) setText(byId(`${part}-note`), error.message);
    known.signature = null;
  }
  Object.assign(known, { asking: false, at: Date.now() });
}

/** What is on its way for a part is not drawn any more. */
export function forget(part) {
  parts.delete(part);
  byId(part).replaceChildren();
  setText(byId(`${part}-note`), '');
}

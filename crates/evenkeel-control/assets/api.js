// Calls of the API that this page belongs to, and nothing else.

const TOKEN = 'evenkeel.token';

/** What the server refused, in its own words. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `status ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

export const token = {
  get: () => sessionStorage.getItem(TOKEN),
  set: (text) => sessionStorage.setItem(TOKEN, text),
  clear: () => sessionStorage.removeItem(TOKEN),
};

function fields(more) {
  const own = token.get();
  return own ? { ...more, Authorization: `Bearer ${own}` } : more;
}

const at = (path) => new URL(path, document.baseURI);

/** The path of an API document; names are escaped. */
export const path = (...segments) => ['api/v1', ...segments.map(encodeURIComponent)].join('/');

async function call(method, where, body, more = {}) {
  const answer = await fetch(at(where), {
    method,
    headers: fields(body === undefined ? more : { ...more, 'Content-Type': 'application/json' }),
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: 'no-store',
    signal: AbortSignal.timeout(10000),
  });
  const text = await answer.text();
  if (!answer.ok) {
    let problem = {};
    try { problem = JSON.parse(text); } catch { problem = { detail: text.slice(0, 200) }; }
    throw new Refused(answer.status, problem);
  }
  return { document: text ? JSON.parse(text) : null, etag: answer.headers.get('ETag') };
}

export const get = async (where) => (await call('GET', where)).document;
export const getTagged = (where) => call('GET', where);

/** A change; with a tag it is refused if somebody else was faster. */
export function change(method, where, body, etag) {
  return call(method, where, body, etag ? { 'If-Match': etag } : {});
}

const MAX_BUFFER = 256 * 1024;
/** Of the last event: who comes back is told what came after it. */
let lastEvent = null;

/** Calls `tell` for each event of the stream; ends when it does. A plain EventSource could not send
    a token. */
export async function events(tell, opened, signal) {
  const after = lastEvent && { 'Last-Event-ID': lastEvent };
  const answer = await fetch(at(path('events')), {
    headers: fields({ Accept: 'text/event-stream', ...after }), cache: 'no-store', signal,
  });
  if (!answer.ok) throw new Refused(answer.status, {});
  opened();
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer = (buffer + value).replaceAll('\r\n', '\n');
    let end;
    while ((end = buffer.indexOf('\n\n')) >= 0) {
      const all = buffer.slice(0, end).split('\n');
      const lines = all.filter((line) => line.startsWith('data:'));
      const id = all.find((line) => line.startsWith('id:'));
      if (id) lastEvent = id.slice(3).trim();
      buffer = buffer.slice(end + 2);
      if (lines.length > 0) tell(lines.map((line) => line.slice(5).trimStart()).join('\n'));
    }
    if (buffer.length > MAX_BUFFER) throw new Error('an event without an end');
  }
}

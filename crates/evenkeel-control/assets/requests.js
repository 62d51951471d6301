// Recent slow and failed requests, each with where its time went; and what happened.

import { badge, byId, h, show } from "./dom.js";
import { bytes, clock, milliseconds, since, words } from "./format.js";
import { state } from "./state.js";

const PAGE = 20;
/** Fields of an event that stand elsewhere in its line. */
const SHOWN = new Set(['timestamp', 'level', 'event', 'message', 'key']);
const view = { requests: PAGE, events: PAGE, opened: new Date().toISOString() };

/** Where the time went: [name, start, length] in milliseconds, in order. */
export function phases({ timings = {}, tries = [], total_ms: total }) {
  const found = [];
  const before = timings.accept_ms || 0;
  const add = (name, start, length) => {
    if (length !== undefined && length !== null) found.push([name, start, length]);
    return start + (length || 0);
  };
  add('accept', -before, timings.accept_ms);
  add('TLS', -before, timings.tls_ms);
  add('queue', 0, timings.queue_ms);
  let end = timings.queue_ms || 0;
  tries.forEach((go, index) => {
    const label = tries.length > 1 ? `try ${index + 1}, ${go.backend}: ` : `${go.backend}: `;
    end = add(`${label}pick`, go.start_ms, go.pick_ms);
    end = add(`${label}connect`, end, go.connect_ms);
    if (go.first_byte_ms !== undefined) end = add(`${label}first byte`, end, Math.max(0, go.start_ms + go.first_byte_ms - end));
    // The last one without an answer took all the time that was left.
    else if (index === tries.length - 1 && total > end) end = add(`${label}${go.outcome}`, end, total - end);
  });
  add('body', end, timings.body_ms);
  return { phases: found, before, total: Math.max(total + before, 0.001) };
}

function kindOf(name) {
  const phase = name.split(': ').pop();
  return { accept: 'a', TLS: 'a', queue: 'q', pick: 'p', connect: 'c', 'first byte': 'f', body: 'b', connect_failure: 'c' }[phase] || 'f';
}

function waterfall(request) {
  const { phases: found, before, total } = phases(request);
  const percent = (ms) => `${Math.min(100, Math.max(0, (ms / total) * 100)).toFixed(2)}%`;
  const row = ([name, start, length]) => h('tr', { 'data-key': `${name} ${start}` },
    h('th', { scope: 'row' }, name),
    h('td', { class: 'number' }, milliseconds(length)),
    h('td', { class: 'fall', 'aria-hidden': 'true' }, h('svg', { width: '100%', height: 14 },
      h('rect', { class: 'track', x: 0, y: 6, width: '100%', height: 2 }),
      h('rect', { class: `phase ${kindOf(name)}`, x: percent(start + before), y: 1, rx: 2, width: `max(2px, ${percent(length)})`, height: 12 }))));
  return h('table', { class: 'plain waterfall' },
    h('caption', {}, `Where ${milliseconds(request.total_ms)} went`),
    h('thead', { class: 'unseen' }, h('tr', {}, ['Phase', 'Took', 'From start to end'].map((text) => h('th', { scope: 'col' }, text)))),
    h('tbody', {}, found.length > 0 ? found.map(row) : h('tr', {}, h('td', {}, 'No phase was reached.'))));
}

function outcome(request) {
  if (request.failure) return badge('bad', request.failure);
  return { slow: badge('odd', 'slow'), drawn: badge('none', 'drawn') }[request.kept] || badge('bad', 'failed');
}

function facts(request) {
  const all = [
    ['Request', request.id], ['Client', request.client_ip], ['Listener', request.listener],
    ['Host', request.host], ['Route', request.route], ['Pool', request.pool],
    ['Bytes', `${bytes(request.bytes_in)} in, ${bytes(request.bytes_out)} out`],
  ];
  return h('dl', { class: 'facts' }, all.filter(([, value]) => value).map(([name, value]) =>
    h('div', { 'data-key': name }, h('dt', {}, name), h('dd', {}, value))));
}

/** What the request said, if it was drawn for that. */
function captured(it) {
  if (!it) return null;
  const lines = it.headers.map(({ name, value }) => `${name}: ${value}`).join('\n');
  return h('pre', { 'aria-label': 'The request as sent' }, it.body ? `${lines}\n\n${it.body}` : lines);
}

function requestItem(request) {
  const tries = request.tries || [];
  return h('details', { class: 'request', 'data-key': request.id },
    h('summary', {},
      h('time', { datetime: request.time, title: request.time, class: 'muted' }, clock(request.time)), ' ',
      outcome(request), ' ',
      h('b', {}, String(request.status || '–')), ' ',
      h('span', { class: 'path' }, `${request.method} ${request.path}`), ' ',
      h('span', { class: 'tail' },
        h('span', { class: 'muted' }, [request.backend || 'no backend', tries.length > 1 && `, ${tries.length} tries`]), ' ',
        h('b', { class: 'number' }, milliseconds(request.total_ms)))),
    h('div', { class: 'detail' }, waterfall(request),
      h('div', {}, facts(request),
        captured(request.captured),
      tries.length > 0 && h('p', {}, h('b', {}, 'Tries '), tries.map((go) => `${go.backend} → ${go.outcome}`).join(', ')),
        request.hint && h('p', { class: 'hint' }, h('b', {}, 'What helps '), request.hint))));
}

export function showRequests() {
  const filter = byId('request-filter').value.trim().toLowerCase();
  const kept = byId('request-kept').value;
  const found = state.requests.filter((request) => (!kept || request.kept === kept) &&
    [request.method, request.host, request.path, request.route, request.pool, request.backend, request.failure, request.id, request.status]
      .join(' ').toLowerCase().includes(filter));
  const shown = found.slice(0, view.requests);
  const none = state.requests.length === 0 ? 'None: no request failed or was slow.' : 'No request matches.';
  show(byId('request-list'), h('div', { class: 'panel list' },
    shown.map(requestItem),
    shown.length === 0 && h('p', { class: 'muted', 'data-key': 'none' }, none),
    found.length > shown.length && h('button', { type: 'button', class: 'quiet', 'data-do': 'more', 'data-list': 'requests', 'data-key': 'more' }, `${found.length - shown.length} more`)));
}

const LEVELS = ['debug', 'info', 'warn', 'error'];
const SIGNS = { debug: 'none', info: 'good', warn: 'odd', error: 'bad' };

/** An event in one sentence, also for those who listen. */
export function sentence(event) {
  const more = Object.entries(event).filter(([key, value]) => !SHOWN.has(key) && value !== '' && value !== null);
  const rest = more.map(([key, value]) => `${words(key)} ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(', ');
  return [event.message, rest].filter(Boolean).join(' — ');
}

export function showEvents() {
  const least = LEVELS.indexOf(byId('event-level').value);
  const found = state.events.filter((event) => LEVELS.indexOf(event.level) >= least);
  const item = (event) => h('li', { 'data-key': event.key },
    h('time', { datetime: event.timestamp, title: event.timestamp, class: 'muted' }, clock(event.timestamp)),
    badge(SIGNS[event.level] || 'none', words(event.event)),
    h('span', {}, sentence(event)));
  const none = `Nothing has happened since this page was opened ${since(view.opened).replace(/^now$/, 'just now')}.`;
  show(byId('event-list'), h('div', { class: 'panel list' },
    found.length > 0 ? h('ol', { class: 'events' }, found.slice(0, view.events).map(item)) : h('p', { class: 'muted' }, none),
    found.length > view.events && h('button', { type: 'button', class: 'quiet', 'data-do': 'more', 'data-list': 'events' }, `${found.length - view.events} more`)));
}

export function showMore(list) {
  view[list] += PAGE;
  if (list === 'events') showEvents();
  else showRequests();
}

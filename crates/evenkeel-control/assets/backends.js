// Backends: filtered, sorted, a page at a time, so that three hundred are as easy as three.

import { badge, byId, h, options, show } from "./dom.js";
import { clock, milliseconds, percent, short, since, whole, words } from "./format.js";
import { isDown } from "./overview.js";
import { allBackends, backendKey, rate, state } from "./state.js";

const PAGE = 25;
const view = { filter: '', pool: '', sort: 'order', descending: false, page: 0, open: new Set() };

const rateOf = ({ pool, backend }) => rate(backendKey(pool.name, backend.name));
/** Nothing fails where nothing is sent. */
const errorsOf = ({ breaker, error_rate: share }) => (breaker !== 'closed' && share === 0 ? null : share);
const COLUMNS = [
  ['order', 'as configured', null],
  ['name', 'Backend', (row) => row.backend.name],
  ['state', 'Traffic', (row) => `${row.backend.eligible ? 1 : 0}${row.backend.reason || ''}`],
  ['weight', 'Weight', (row) => row.backend.weight],
  ['in_flight', 'In flight', (row) => row.backend.in_flight],
  ['rate', 'Rate', (row) => rateOf(row) || 0],
  ['requests', 'Requests', (row) => row.backend.requests],
  ['errors', 'Errors', (row) => errorsOf(row.backend) ?? -1],
  ['p50', 'p50', (row) => row.backend.p50_ms || 0],
  ['p95', 'p95', (row) => row.backend.p95_ms || 0],
  ['p99', 'p99', (row) => row.backend.p99_ms || 0],
];
const NUMBERS = new Set(['weight', 'in_flight', 'rate', 'requests', 'errors', 'p50', 'p95', 'p99']);

function traffic(backend) {
  if (backend.eligible) return badge('good', 'serving');
  const reason = words(backend.reason) || 'not eligible';
  return badge(isDown(backend) ? 'bad' : 'off', reason);
}

const ADMIN = { enabled: ['good', 'enabled'], draining: ['odd', 'draining'], disabled: ['off', 'disabled'] };
const HEALTH = { healthy: ['good', 'healthy'], unhealthy: ['bad', 'unhealthy'], unknown: ['none', 'unknown'], unchecked: ['none', 'not checked'] };
const BREAKER = { closed: ['good', 'closed'], open: ['bad', 'open'], half_open: ['odd', 'half open'] };

function matches({ pool, backend }) {
  if (view.pool && pool.name !== view.pool) return false;
  const text = [backend.name, backend.address, pool.name, backend.eligible ? 'serving' : 'down', words(backend.reason),
    `admin:${backend.admin}`, `health:${backend.health}`, `breaker:${backend.breaker}`, backend.source].join(' ').toLowerCase();
  return view.filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function compare(by) {
  const collator = new Intl.Collator('en', { numeric: true });
  return (one, other) => {
    const [a, b] = [by(one), by(other)];
    return typeof a === 'number' ? a - b : collator.compare(a, b);
  };
}

function rows() {
  const found = allBackends().filter(matches);
  const by = COLUMNS.find(([key]) => key === view.sort)[2];
  if (by) found.sort(compare(by));
  if (view.descending) found.reverse();
  return found;
}

function heads() {
  return COLUMNS.slice(1).map(([key, text]) => {
    const sorted = view.sort === key;
    const order = sorted ? (view.descending ? 'descending' : 'ascending') : 'none';
    const sign = sorted ? (view.descending ? ' ▼' : ' ▲') : '';
    return h('th', { scope: 'col', 'aria-sort': order, class: NUMBERS.has(key) ? 'number' : null, 'data-key': key },
      h('button', { type: 'button', class: 'sort', 'data-do': 'sort', 'data-sort': key }, text, h('span', { 'aria-hidden': 'true' }, sign)));
  });
}

function actions(pool, backend) {
  const button = (what, text, kind) => h('button', {
    type: 'button', class: kind, 'data-do': what, 'data-pool': pool.name, 'data-backend': backend.name, 'data-key': what,
    'aria-label': `${text.replace('…', '')} backend ${backend.name} of pool ${pool.name}`,
  }, text);
  return h('div', { class: 'actions' },
    state.mayChange && [
      backend.admin !== 'enabled' && button('enabled', 'Enable'),
      backend.admin === 'enabled' && button('draining', 'Drain'),
      backend.admin !== 'disabled' && button('disabled', 'Disable'),
      button('weight', 'Weight…'),
    ],
    button('details', view.open.has(keyOf(pool, backend)) ? 'Less' : 'More', 'quiet'));
}

const keyOf = (pool, backend) => `${pool.name}\n${backend.name}`;

function row({ pool, backend }) {
  const number = (label, text) => h('td', { class: 'number', 'data-label': label }, text);
  const [admin, health, breaker] = [ADMIN[backend.admin], HEALTH[backend.health], BREAKER[backend.breaker]];
  const line = h('tr', { 'data-key': keyOf(pool, backend), class: isDown(backend) ? 'down' : null },
    h('th', { scope: 'row' }, backend.name,
      h('div', { class: 'muted small' }, `${pool.name} · ${backend.address}`)),
    h('td', { 'data-label': 'Traffic' }, traffic(backend),
      h('div', { class: 'axes small' },
        h('span', { class: admin[0] }, admin[1]), ' · ', h('span', { class: health[0] }, health[1]), ' · ',
        h('span', { class: breaker[0] }, `breaker ${breaker[1]}`))),
    number('Weight', whole(backend.weight)),
    number('In flight', whole(backend.in_flight)),
    number('Rate', `${short(rateOf({ pool, backend }))}/s`),
    number('Requests', whole(backend.requests)),
    number('Errors', percent(errorsOf(backend))),
    number('p50', milliseconds(backend.p50_ms)),
    number('p95', milliseconds(backend.p95_ms)),
    number('p99', milliseconds(backend.p99_ms)),
    h('td', { class: 'last' }, actions(pool, backend)));
  return view.open.has(keyOf(pool, backend)) ? [line, details(pool, backend)] : [line];
}

function axis(name, [kind, word], reason, time) {
  return h('tr', { 'data-key': name },
    h('th', { scope: 'row' }, name), h('td', { 'data-label': 'State' }, badge(kind, word)),
    h('td', { 'data-label': 'Reason' }, reason || '–'),
    h('td', { 'data-label': 'Since' }, time ? h('time', { datetime: time, title: time }, since(time)) : 'the start'));
}

function probe({ time, took_ms: took, fault }) {
  const text = `${clock(time)}: ${fault || 'passed'}, ${milliseconds(took)}`;
  return h('li', { class: fault ? 'bad' : 'good', title: text, 'data-key': time },
    h('span', { 'aria-hidden': 'true' }, fault ? '✖' : '✔'), h('span', { class: 'unseen' }, text));
}

function details(pool, backend) {
  const results = backend.results || [];
  const newest = results[results.length - 1];
  const until = backend.breaker_until ? `; next trial ${since(backend.breaker_until)}` : '';
  return h('tr', { class: 'details', 'data-key': `details ${keyOf(pool, backend)}` }, h('td', { colspan: COLUMNS.length },
    h('div', { class: 'detail' },
      h('table', { class: 'plain' },
        h('caption', {}, `Three axes decide whether ${backend.name} takes traffic`),
        h('thead', {}, h('tr', {}, ['Axis', 'State', 'Reason', 'Since'].map((text) => h('th', { scope: 'col' }, text)))),
        h('tbody', {},
          axis('Admin', ADMIN[backend.admin], backend.admin_reason || 'the operator’s wish', backend.admin_since),
          axis('Health', HEALTH[backend.health], backend.health === 'healthy' ? 'probes pass' : backend.health_reason, backend.health_since),
          axis('Breaker', BREAKER[backend.breaker], (backend.breaker_reason || 'traffic is fine') + until, backend.breaker_since))),
      h('div', {},
        h('p', {}, h('b', {}, 'Address '), h('code', {}, backend.url || backend.address), h('b', {}, ' From '), backend.source || 'config'),
        backend.suspected && h('p', {}, badge('odd', 'suspected'), ` ${backend.suspected}`),
        results.length > 0 && h('div', {}, h('b', {}, 'Last probes '), h('ol', { class: 'probes' }, results.map(probe)),
          newest && h('span', { class: 'muted small' }, ` ${newest.fault || 'passed'} in ${milliseconds(newest.took_ms)}, ${since(newest.time)}`)),
        h('button', { type: 'button', 'data-do': 'scope', 'data-scope': `backend\n${pool.name}\n${backend.name}` }, 'Chart this backend')))));
}

function pager(count) {
  const pages = Math.max(1, Math.ceil(count / PAGE));
  view.page = Math.min(view.page, pages - 1);
  if (pages === 1) return h('p', { class: 'muted small pager', role: 'status' }, count === 1 ? '1 backend' : `${count} backends`);
  const first = view.page * PAGE;
  const button = (to, text, off) => h('button', { type: 'button', 'data-do': 'page', 'data-page': to, disabled: off, 'data-key': text }, text);
  return h('nav', { class: 'pager', 'aria-label': 'Pages of backends' },
    button(view.page - 1, '← Previous', view.page === 0),
    h('span', { role: 'status' }, `${first + 1}–${Math.min(first + PAGE, count)} of ${count} backends`),
    button(view.page + 1, 'Next →', view.page === pages - 1));
}

export function showBackends() {
  options(byId('backend-pool'), [['', [['', 'all'], ...state.pools.map(({ name }) => [name, name])]]]);
  options(byId('backend-sort'), [['', COLUMNS.map(([key, text]) => [key, text])]]);
  const all = rows();
  const pages = pager(all.length);
  const shown = all.slice(view.page * PAGE, (view.page + 1) * PAGE);
  show(byId('backend-list'), h('div', { class: 'panel flush' },
    h('table', {},
      h('caption', { class: 'unseen' }, 'Backends of all pools'),
      h('thead', {}, h('tr', {}, heads(), h('th', { scope: 'col' }, h('span', { class: 'unseen' }, 'Actions')))),
      h('tbody', {}, shown.map(row), all.length === 0 && h('tr', { 'data-key': 'none' }, h('td', { colspan: COLUMNS.length, class: 'muted' }, 'No backend matches.'))))),
    pages);
}

export function sortBy(key) {
  view.descending = view.sort === key ? !view.descending : NUMBERS.has(key);
  view.sort = key;
  byId('backend-sort').value = key;
  showBackends();
}

export function toPage(page) {
  view.page = Number(page);
  showBackends();
}

export function toggleDetails(pool, name) {
  const key = `${pool}\n${name}`;
  if (!view.open.delete(key)) view.open.add(key);
  showBackends();
}

export function filterBackends() {
  view.filter = byId('backend-filter').value.trim();
  view.pool = byId('backend-pool').value;
  view.page = 0;
  showBackends();
}

// Reads what the server knows and shows it: every two seconds while events stream in, every five
// without them, and at once when something happens.

import { actionsWith, announce, signIn } from "./actions.js";
import { events, get, path, token } from "./api.js";
import { filterBackends, showBackends, sortBy, toPage, toggleDetails } from "./backends.js";
import { showAutoscalers, showMigrations, showRevisions } from "./changes.js";
import { remake, resize, showCharts } from "./charts.js";
import { byId, show } from "./dom.js";
import { clock, words } from "./format.js";
import { showFigures, showNotices, showProcess, showScopes, totals } from "./overview.js";
import { showPools, showRoutes } from "./pools.js";
import { sentence, showEvents, showMore, showRequests } from "./requests.js";
import { addEvent, allBackends, backendKey, keepSamples, routeKey, sample, state } from "./state.js";

const WITH_EVENTS_MS = 2000;
const ALONE_MS = 5000;
/** Events that come together make one reload. */
const GATHER_MS = 150;
const RECONNECT_MS = 5000;
/** Every so many rounds what changes seldom is read as well. */
const SELDOM = 5;
const THEMES = ['auto', 'light', 'dark'];

let round = 0;
let timer = 0;
let streaming = false;
let busy = false;
let lastTrouble = '';

const isFull = () => document.documentElement.dataset.access === 'full';
const isMissing = (error) => error.status === 404 || error.status === 405 || error.status === 501;

/** A document, or what was known before if there is none. */
async function read(key, where, pick) {
  if (state.absent.has(key)) return;
  try {
    state[key] = pick(await get(where));
  } catch (error) {
    if (!isMissing(error)) throw error;
    state.absent.add(key);
  }
}

const scopeQuery = (scope) => {
  const [kind, ...names] = scope.split('\n');
  const query = new URLSearchParams();
  if (kind === 'backend') query.set('pool', names[0]);
  if (kind !== 'all') query.set(kind, names[names.length - 1]);
  return query.toString() ? `?${query}` : '';
};

async function readHistory() {
  const scope = byId('scope').value || 'all';
  await read('history', path('history') + scopeQuery(scope), (it) => it);
  if (scope !== 'all') {
    await read('totals', path('history'), (it) => ({ requests: it.requests, errors: it.errors, steps: it.steps }));
  } else if (state.history) {
    const { requests, errors, steps } = state.history;
    state.totals = { requests, errors, steps };
  }
}

async function load(everything) {
  const seldom = everything || round % SELDOM === 0;
  const before = state.status && state.status.generation;
  await Promise.all([
    read('status', path('status'), (it) => it),
    read('pools', path('pools'), (it) => it.pools),
    read('routes', path('routes'), (it) => it.routes),
    read('requests', path('requests'), (it) => it.requests),
    read('migrations', path('migrations'), (it) => it.migrations),
    readHistory(),
    seldom && read('revisions', path('revisions'), (it) => it.revisions),
    seldom && read('autoscalers', path('autoscalers'), (it) => it.autoscalers),
  ]);
  if (!state.config || everything || (state.status && state.status.generation !== before)) {
    await read('config', path('config'), (it) => it);
    await read('revisions', path('revisions'), (it) => it.revisions);
  }
  round += 1;
  const { role } = state.status || {};
  if (role) state.mayChange = isFull() && role !== 'viewer';
  count();
}

function count() {
  const keys = ['all', 'all errors'];
  const { requests, errors } = totals();
  sample('all', requests);
  if (errors !== null) sample('all errors', errors);
  for (const { pool, backend } of allBackends()) {
    keys.push(backendKey(pool.name, backend.name));
    sample(backendKey(pool.name, backend.name), backend.requests);
  }
  for (const { name, requests: ended } of state.routes) {
    keys.push(routeKey(name));
    sample(routeKey(name), ended);
  }
  keepSamples(keys);
}

function render() {
  showProcess();
  showNotices();
  showFigures();
  showScopes();
  showCharts(state.history);
  showMigrations();
  showAutoscalers();
  showPools();
  showBackends();
  showRoutes();
  showRequests();
  showEvents();
  showRevisions();
  markSection();
  byId('token').textContent = token.get() ? 'Token ✔' : 'Token';
  if (!document.documentElement.dataset.loaded) performance.mark('usable');
  document.documentElement.dataset.loaded = 'true';
  for (const id of ['requests', 'events']) byId(id).hidden = state.absent.has(id);
  byId('changes').hidden = state.absent.has('revisions');
  for (const it of byId('sections').children) it.hidden = byId(it.hash.slice(1)).hidden;
  byId('token').hidden = !isFull();
  show(byId('foot'), `Read at ${clock(new Date())}. `, state.mayChange ? 'Changes ask first.' : 'Read only.');
}

function link(kind, text) {
  const node = byId('link');
  if (node.className !== `badge ${kind}` || node.textContent !== text) {
    node.className = `badge ${kind}`;
    node.textContent = text;
  }
}

function showLink() {
  if (state.paused) link('off', '◼ paused');
  else if (streaming) link('good', '✔ live');
  else link('odd', '▲ every 5 s');
}

function trouble(error) {
  const texts = { 401: 'A token is needed.', 403: 'This token may not look.' };
  const text = texts[error.status] || `No answer since ${clock(state.loadedAt || new Date())}: ${error.message}`;
  link('bad', `✖ ${error.status === 401 ? 'token needed' : 'not connected'}`);
  if (text !== lastTrouble) announce(text);
  lastTrouble = text;
  if (error.status === 401 && !byId('sign-in').open && !token.get()) signIn();
}

async function refresh(everything = false) {
  if (busy) return;
  busy = true;
  clearTimeout(timer);
  try {
    await load(everything === true);
    state.loadedAt = Date.now();
    lastTrouble = '';
    showLink();
    render();
  } catch (error) {
    trouble(error);
  } finally {
    busy = false;
    plan();
  }
}

/** The next reading; none while nobody looks. */
function plan(after = streaming ? WITH_EVENTS_MS : ALONE_MS) {
  clearTimeout(timer);
  if (!state.paused && !document.hidden) timer = setTimeout(refresh, after);
}

let eventCount = 0;

function happened(text) {
  let event;
  try { event = JSON.parse(text); } catch { return; }
  eventCount += 1;
  event.key = `${event.timestamp} ${eventCount}`;
  addEvent(event);
  if (event.level === 'warn' || event.level === 'error') announce(`${words(event.event)}: ${sentence(event)}`);
  if (!state.paused) plan(GATHER_MS);
}

async function watch() {
  for (;;) {
    try {
      await events(happened, () => {
        streaming = true;
        showLink();
        plan();
      });
    } catch (error) {
      if (isMissing(error)) state.absent.add('events');
    }
    streaming = false;
    if (state.absent.has('events')) return;
    await new Promise((done) => { setTimeout(done, RECONNECT_MS); });
  }
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId('theme').textContent = `Theme: ${theme}`;
  try { localStorage.setItem('evenkeel.theme', theme); } catch { /* a browser may forbid it */ }
  remake();
}

const ACTIONS = {
  ...actionsWith(refresh),
  pause: (_, button) => {
    state.paused = !state.paused;
    button.setAttribute('aria-pressed', String(state.paused));
    button.textContent = state.paused ? 'Resume' : 'Pause';
    showLink();
    if (!state.paused) refresh();
  },
  theme: () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % THEMES.length]),
  sort: ({ sort }) => sortBy(sort),
  page: ({ page }) => toPage(page),
  details: ({ pool, backend }) => toggleDetails(pool, backend),
  scope: ({ scope }) => {
    byId('scope').value = scope;
    byId('overview').scrollIntoView();
    byId('scope').focus({ preventScroll: true });
    refresh();
  },
  more: ({ list }) => showMore(list),
  dismiss: (_, button) => button.parentElement.remove(),
};

function listen() {
  document.addEventListener('click', (click) => {
    const jump = click.target.closest('a[href^="#"]');
    if (jump) {
      // Together with a base such a link would leave the page of a mount.
      click.preventDefault();
      const section = byId(jump.hash.slice(1));
      section.scrollIntoView();
      section.focus({ preventScroll: true });
    }
    const button = click.target.closest('[data-do]');
    if (button && ACTIONS[button.dataset.do]) ACTIONS[button.dataset.do](button.dataset, button);
  });
  const on = (id, act, kind = 'input') => byId(id).addEventListener(kind, act);
  on('scope', () => refresh(), 'change');
  on('backend-filter', filterBackends);
  on('backend-pool', filterBackends, 'change');
  on('backend-sort', (change) => sortBy(change.target.value), 'change');
  on('request-filter', showRequests);
  on('request-kept', showRequests, 'change');
  on('event-level', showEvents, 'change');
  document.addEventListener('visibilitychange', () => { if (!document.hidden) refresh(); });
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', remake);
  new ResizeObserver(resize).observe(byId('overview'));
}

/** The section that is read: the last whose head is above the upper third. */
function markSection() {
  const links = [...byId('sections').children].filter((it) => !it.hidden);
  const above = links.filter((it) => byId(it.hash.slice(1)).getBoundingClientRect().top < window.innerHeight / 3);
  const now = above[above.length - 1] || links[0];
  links.forEach((it) => (it === now ? it.setAttribute('aria-current', 'true') : it.removeAttribute('aria-current')));
}

function start() {
  let theme = 'auto';
  try { theme = localStorage.getItem('evenkeel.theme') || theme; } catch { /* a browser may forbid it */ }
  setTheme(THEMES.includes(theme) ? theme : 'auto');
  listen();
  markSection();
  window.addEventListener('scroll', () => requestAnimationFrame(markSection), { passive: true });
  refresh(true).then(watch);
}

start();

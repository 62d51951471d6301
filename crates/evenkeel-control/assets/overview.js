// The first glance: who we are, whether all is well, how much is going on.

import { badge, byId, h, options, show } from "./dom.js";
import { percent, short, span, whole, milliseconds } from "./format.js";
import { allBackends, rate, state, sum } from "./state.js";

export function showProcess() {
  const { status } = state;
  if (!status) return;
  const kind = status.state === 'ready' ? 'good' : 'odd';
  show(byId('process'),
    badge(kind, status.state),
    h('span', { class: 'muted' },
      ` v${status.version} · up ${span(status.uptime_seconds)} · configuration ${status.generation} · ${status.workers} workers`));
  document.title = title();
}

function title() {
  const bad = allBackends().filter(({ backend }) => isDown(backend)).length;
  return bad > 0 ? `(${bad} down) evenkeel` : 'evenkeel';
}

/** True if something is wrong with it, and not because an operator wanted it so. */
export const isDown = (backend) => !backend.eligible && backend.admin === 'enabled' && backend.weight > 0;

/** Requests that have ended, of all routes and of none. */
export function totals() {
  const { totals: counted } = state;
  if (counted) return counted;
  return { requests: sum(state.routes.map((route) => route.requests)), errors: null };
}

function figure(label, value, note, kind = '') {
  return h('div', { class: `figure ${kind}`, 'data-key': label },
    h('dt', {}, label), h('dd', {}, h('span', { class: 'value' }, value), note && h('span', { class: 'note' }, note)));
}

function lastStep() {
  const steps = (state.totals && state.totals.steps) || [];
  return steps[steps.length - 1] || {};
}

export function showFigures() {
  const { status, pools } = state;
  const backends = allBackends();
  const eligible = backends.filter(({ backend }) => backend.eligible).length;
  const down = backends.filter(({ backend }) => isDown(backend)).length;
  const waiting = sum(pools.map((pool) => pool.waiting));
  const { requests, errors } = totals();
  // Before there are two samples, the last step of the history tells.
  const step = lastStep();
  const perStep = (count) => (count === undefined ? null : count / state.history.step_seconds);
  const perSecond = rate('all') ?? perStep(step.requests);
  const failing = rate('all errors') ?? perStep(step.errors);
  const share = perSecond > 0 && failing !== null ? failing / perSecond : null;
  show(byId('figures'), h('dl', { class: 'figures' },
    figure('Requests', h('span', { id: 'total-requests' }, whole(requests)), errors === null ? 'since the start' : `${whole(errors)} ${errors === 1 ? 'error' : 'errors'} since the start`),
    figure('Now', `${short(perSecond)}/s`, share > 0 ? `${percent(share)} errors` : 'no errors', share > 0.01 ? 'bad' : ''),
    figure('p95', milliseconds(step.p95_ms), `p50 ${milliseconds(step.p50_ms)} · p99 ${milliseconds(step.p99_ms)}`),
    figure('In flight', whole(sum(backends.map(({ backend }) => backend.in_flight))), 'at backends now'),
    figure('Waiting', whole(waiting), 'for a backend with room', waiting > 0 ? 'odd' : ''),
    figure('Clients', whole(status && status.client_connections), 'open connections'),
    figure('Backends', `${eligible} of ${backends.length}`, down > 0 ? `▲ ${down} down` : 'take traffic', down > 0 ? 'bad' : ''),
  ));
}

export function showNotices() {
  const { pools } = state;
  const odd = pools.filter((pool) => pool.mode !== 'normal').map((pool) => {
    const texts = {
      doubtful: 'every backend is in doubt; the best of them serve',
      failing_open: 'every breaker is open; they are ignored (fail_open)',
      down: 'nobody may be tried; clients get 503',
    };
    const kind = pool.mode === 'doubtful' ? 'odd' : 'bad';
    return h('p', { class: `notice ${kind}`, 'data-key': pool.name },
      badge(kind, `pool ${pool.name}`), ` ${texts[pool.mode] || pool.mode}. `, h('a', { href: '#pools' }, 'Look'));
  });
  show(byId('notices'), odd);
}

/** What the charts may be of. */
export function showScopes() {
  const backends = allBackends().map(({ pool, backend }) =>
    [`backend\n${pool.name}\n${backend.name}`, `${pool.name} / ${backend.name}`]);
  options(byId('scope'), [
    ['', [['all', 'everything']]],
    ['Routes', state.routes.map(({ name }) => [`route\n${name}`, name])],
    ['Pools', state.pools.map(({ name }) => [`pool\n${name}`, name])],
    ['Backends', backends],
  ]);
}

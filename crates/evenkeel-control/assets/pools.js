// Pools and routes.

import { badge, byId, h, show } from "./dom.js";
import { percent, short, span, whole } from "./format.js";
import { poolFeatures, routeFeatures } from "./features.js";
import { backendKey, rate, routeKey, state, sum } from "./state.js";

export const STRATEGIES = [
  'round_robin', 'weighted_round_robin', 'random', 'weighted_random', 'power_of_two',
  'least_connections', 'least_response_time', 'consistent_hash', 'maglev',
];

const MODES = {
  normal: ['good', 'normal'],
  doubtful: ['odd', 'in doubt'],
  failing_open: ['bad', 'failing open'],
  down: ['bad', 'down'],
};

/** As it is configured; what has no name there is found by its place. */
const configured = (list, name, place) => {
  const all = (state.config || {})[list] || [];
  return all.find((it) => it.name === name) || (all[place] && !all[place].name ? all[place] : undefined);
};

function chips(features) {
  if (features.length === 0) return h('p', { class: 'muted' }, 'Nothing beyond plain forwarding.');
  return h('ul', { class: 'chips', 'aria-label': 'Features in force' },
    features.map(([name, how]) => h('li', { 'data-key': name }, h('b', {}, name), how && ` ${how}`)));
}

function pair(name, value, width) {
  return h('div', { 'data-key': name, class: width }, h('dt', {}, name), h('dd', {}, value));
}

/** Who is asked for backends, what came of it, and what is wrong. */
function discovery(it, settings) {
  const { name, path, namespace, service, label } = (settings && settings.discovery) || {};
  const asked = [namespace, name || path || service || label].filter(Boolean).join('/');
  const [kind, word] = it.up ? ['good', 'answers'] : it.trouble ? ['bad', 'fails'] : ['none', 'asking'];
  const answer = it.age_seconds === null ? 'no good answer yet' : `last good answer ${span(it.age_seconds)} ago`;
  return pair('Discovery', [
    badge(kind, word), ` ${it.type} ${asked}: ${whole(it.backends)} found, ${answer}`,
    it.left_out > 0 && `; ▲ ${whole(it.left_out)} left out, more than discovery.max`,
    it.trouble && h('p', { class: 'bad' }, it.trouble)], 'wide');
}

function card(pool) {
  const [kind, word] = MODES[pool.mode] || ['none', pool.mode];
  const { backends, retry_budget: budget } = pool;
  const eligible = backends.filter((backend) => backend.eligible).length;
  const perSecond = sum(backends.map((backend) => rate(backendKey(pool.name, backend.name))));
  const settings = configured('pools', pool.name);
  const facts = [
    pair('Backends', `${eligible} of ${backends.length} take traffic`),
    pair('Requests', `${short(perSecond)}/s · ${whole(sum(backends.map((it) => it.requests)))}`),
    pair('In flight', whole(sum(backends.map((it) => it.in_flight)))),
    pair('Queue', pool.waiting > 0 ? `${whole(pool.waiting)} wait` : 'empty'),
    budget && pair('Retry budget', `${percent(budget.ratio)} of requests or ${budget.floor}/s` +
      (budget.refused > 0 ? `; ▲ ${whole(budget.refused)} retries refused` : '; none refused')),
    pool.discovery && discovery(pool.discovery, settings),
  ];
  return h('article', { class: 'panel', 'data-key': pool.name, 'aria-label': `Pool ${pool.name}` },
    h('div', { class: 'panel-head' },
      h('h3', {}, pool.name), badge(kind, word),
      h('span', { class: 'grow' }),
      h('code', {}, pool.strategy),
      state.mayChange && h('button', { type: 'button', 'data-do': 'strategy', 'data-pool': pool.name }, 'Strategy…')),
    h('dl', { class: 'facts' }, facts),
    settings && chips(poolFeatures(settings)));
}

export function showPools() {
  const empty = state.status && h('p', { class: 'muted' }, 'There is no pool.');
  show(byId('pool-list'), h('div', { class: 'cards' }, state.pools.map(card)), state.pools.length === 0 && empty);
}

function test(route) {
  const it = route.match || {};
  const parts = [
    (it.hosts || []).join(', '),
    it.path && `path ${it.path}`,
    it.path_prefix && `${it.path_prefix}/…`.replace('//', '/'),
    (it.methods || []).join(', '),
    Object.entries(it.headers || {}).map(([name, value]) => `${name}: ${value}`).join(', '),
  ].filter(Boolean);
  return parts.length > 0 ? parts.join(' · ') : 'everything';
}

function shares(route) {
  const all = sum(route.split.map(({ weight }) => weight));
  return route.split.map(({ pool, weight }) =>
    route.split.length > 1 ? `${pool} ${percent(all > 0 ? weight / all : 0)}` : pool).join(', ');
}

function routeRow(route, index) {
  const features = routeFeatures(configured('routes', route.name, index));
  const cell = (label, ...inside) => h('td', { 'data-label': label }, inside);
  return h('tr', { 'data-key': route.name },
    h('th', { scope: 'row' }, h('span', { class: 'muted' }, `${index + 1}. `), route.name),
    cell('Matches', h('code', {}, test(route))),
    cell('Goes to', shares(route)),
    cell('Filters', features.length > 0 ? features.map(([name, how]) => h('div', { 'data-key': name }, h('b', {}, name), ` ${how}`)) : '–'),
    h('td', { 'data-label': 'Rate', class: 'number' }, `${short(rate(routeKey(route.name)))}/s`),
    h('td', { 'data-label': 'Requests', class: 'number' }, whole(route.requests)),
    cell('', h('button', { type: 'button', class: 'quiet', 'data-do': 'scope', 'data-scope': `route\n${route.name}`, 'aria-label': `Chart of route ${route.name}` }, 'Chart')));
}

export function showRoutes() {
  const heads = ['Route', 'Matches', 'Goes to', 'Filters', 'Rate', 'Requests', ''];
  show(byId('route-list'), h('div', { class: 'panel flush' }, h('table', {},
    h('caption', { class: 'unseen' }, 'Routes; the first that matches wins'),
    h('thead', {}, h('tr', {}, heads.map((text) => h('th', { scope: 'col', class: text === 'Rate' || text === 'Requests' ? 'number' : null }, text || h('span', { class: 'unseen' }, 'Chart'))))),
    h('tbody', {}, state.routes.map(routeRow)))));
}

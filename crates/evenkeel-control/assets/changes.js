// How the configuration came to be; traffic that moves from pool to pool; pools that scale.

import { badge, byId, h, show } from "./dom.js";
import { clock, milliseconds, percent, since, whole, words } from "./format.js";
import { state } from "./state.js";

function diff(text) {
  const lines = String(text || '').split('\n').filter(Boolean);
  if (lines.length === 0) return h('span', { class: 'muted' }, 'no key changed');
  const kind = (line) => (line.startsWith('+') ? 'added' : line.startsWith('-') ? 'removed' : null);
  const shown = lines.map((line, index) => h('span', { class: kind(line), 'data-key': `${index} ${line}` }, `${line}\n`));
  if (lines.length <= 3) return h('pre', {}, shown);
  return h('details', {}, h('summary', {}, `${lines.length} lines`), h('pre', {}, shown));
}

export function showRevisions() {
  const newest = [...state.revisions].reverse();
  const row = (revision, index) => h('tr', { 'data-key': revision.id },
    h('th', { scope: 'row', class: 'number' }, revision.id, index === 0 && h('div', {}, badge('good', 'in force'))),
    h('td', { 'data-label': 'When' }, h('time', { datetime: revision.time, title: revision.time }, clock(revision.time))),
    h('td', { 'data-label': 'Author' }, revision.author),
    h('td', { 'data-label': 'Reason' }, revision.reason || '–'),
    h('td', { 'data-label': 'Change' }, diff(revision.diff)),
    h('td', { class: 'last' }, state.mayChange && index > 0 && h('button', { type: 'button', 'data-do': 'rollback', 'data-revision': revision.id, 'aria-label': `Roll back to revision ${revision.id}` }, 'Roll back…')));
  const heads = ['Revision', 'When', 'Author', 'Reason', 'Change'];
  const body = newest.length > 0 ? newest.slice(0, 50).map(row)
    : h('tr', { 'data-key': 'none' }, h('td', { colspan: 6, class: 'muted' }, 'Nothing has changed since the start.'));
  show(byId('revision-list'), h('div', { class: 'panel flush' }, h('table', {},
    h('caption', { class: 'unseen' }, 'Revisions, the newest first'),
    h('thead', {}, h('tr', {}, heads.map((text) => h('th', { scope: 'col', class: text === 'Revision' ? 'number' : null }, text)), h('th', { scope: 'col' }, h('span', { class: 'unseen' }, 'Actions')))),
    h('tbody', {}, body))));
}

const VERDICTS = { GO: 'good', 'NO-GO': 'bad', 'NOT-ENOUGH-DATA': 'none' };
const STATES = { done: 'good', aborted: 'bad', paused: 'odd', frozen: 'odd', waiting: 'odd' };
const OVER = new Set(['done', 'aborted']);
const MAX_CHECKS = 40;

function arm(name, arm) {
  if (!arm) return null;
  const said = arm.requests ? `${whole(arm.requests)} requests, ${percent(arm.success_rate)} good, p99 ${milliseconds(arm.p99_ms)}` : 'no requests yet';
  return h('li', { 'data-key': name }, h('b', {}, name), ` ${said}`);
}

function stages(migration) {
  const seen = new Map();
  for (const check of migration.checks || []) {
    const list = seen.get(check.stage) || [];
    list.push(check);
    seen.set(check.stage, list);
  }
  const count = migration.stages ?? migration.stage + 1;
  for (let stage = 0; stage < count; stage += 1) if (!seen.has(stage)) seen.set(stage, []);
  return [...seen.entries()].sort(([a], [b]) => a - b).map(([stage, checks]) => {
    const now = stage === migration.stage && !OVER.has(migration.state);
    const weight = checks.length > 0 ? checks[checks.length - 1].weight : now ? migration.weight : null;
    const marks = checks.slice(-MAX_CHECKS).map((check) => h('li', {
      class: VERDICTS[check.verdict] || 'none', title: `${clock(check.time)} ${check.verdict}: ${check.reason || ''}`, 'data-key': check.time,
    }, h('span', { 'aria-hidden': 'true' }, { GO: '✔', 'NO-GO': '✖' }[check.verdict] || '…'), h('span', { class: 'unseen' }, `${clock(check.time)} ${check.verdict}`)));
    return h('li', { class: now ? 'stage now' : 'stage', 'aria-current': now ? 'step' : null, 'data-key': stage },
      h('b', {}, `Stage ${stage + 1}`), h('span', {}, weight === null ? ' to come' : ` ${weight} %`), now && ' · now',
      h('ol', { class: 'probes', 'aria-label': `Checks of stage ${stage + 1}` }, marks),
      checks.length > MAX_CHECKS && h('span', { class: 'muted small' }, `the last ${MAX_CHECKS} of ${checks.length}`));
  });
}

function measured(gate, value) {
  if (value === null || value === undefined) return '–';
  if (/^success|drop$/.test(gate)) return percent(value);
  return gate.endsWith('ratio') ? `${Number(value.toPrecision(3))}×` : milliseconds(value);
}

/** Without a verdict none fails. */
function standing(gate, { verdict }) {
  if (gate.holds) return badge('good', 'holds');
  return verdict === 'NOT-ENOUGH-DATA' || (gate.value ?? null) === null ? badge('none', 'too early') : badge('bad', 'fails');
}

function gates(check) {
  if (!check || !(check.gates || []).length) return null;
  const row = (gate) => h('tr', { 'data-key': gate.gate },
    h('th', { scope: 'row' }, words(gate.gate)), h('td', { class: 'number' }, measured(gate.gate, gate.value)), h('td', { class: 'number' }, measured(gate.gate, gate.threshold)),
    h('td', {}, standing(gate, check)));
  return h('table', { class: 'plain' }, h('caption', {}, `Gates of the last check, ${since(check.time)}`),
    h('thead', {}, h('tr', {}, ['Gate', 'Value', 'Bound', 'Verdict'].map((text, index) => h('th', { scope: 'col', class: index === 1 || index === 2 ? 'number' : null }, text)))),
    h('tbody', {}, check.gates.map(row)));
}

function migrationCard(migration) {
  const checks = migration.checks || [];
  const last = checks[checks.length - 1];
  const act = (what, text) => h('button', { type: 'button', 'data-do': 'migration', 'data-what': what, 'data-id': migration.id, 'data-key': what }, text);
  return h('article', { class: 'panel', 'data-key': migration.id, 'aria-label': `Migration ${migration.id}` },
    h('div', { class: 'panel-head' }, h('h3', {}, migration.id),
      badge(STATES[migration.state] || 'good', migration.state),
      migration.verdict && badge(VERDICTS[migration.verdict] || 'none', migration.verdict),
      h('span', { class: 'grow' }),
      state.mayChange && !OVER.has(migration.state) && h('div', { class: 'actions' },
        migration.state === 'paused' || migration.state === 'frozen' ? act('resume', 'Resume…') : act('pause', 'Pause…'),
        migration.state === 'waiting' && act('approve', 'Approve…'), act('abort', 'Abort…'))),
    h('p', {}, `Route ${migration.route}`, migration.from && `: from ${migration.from} to ${migration.to}, ${migration.weight ?? 0} % moved`,
      migration.started && `, started ${since(migration.started)}`, migration.ended && `, ended ${since(migration.ended)}`, '. ', migration.reason || ''),
    migration.weight !== undefined && h('progress', { max: 100, value: Math.min(100, migration.weight), 'aria-label': 'Share of the traffic that has moved' }),
    h('ol', { class: 'stages' }, migration.stage !== undefined ? stages(migration) : []),
    last && h('div', { class: 'detail' }, gates(last), h('ul', { class: 'plain-list' }, arm(migration.from, last.from), arm(migration.to, last.to))));
}

export function showMigrations() {
  const section = byId('migrations');
  section.hidden = state.migrations.length === 0;
  if (section.hidden) return show(section);
  const running = state.migrations.filter(({ state: it }) => !OVER.has(it));
  const ended = state.migrations.filter(({ state: it }) => OVER.has(it)).slice(-3).reverse();
  show(section, h('h2', {}, 'Migrations'), running.map(migrationCard), ended.map(migrationCard));
}

function decision(it) {
  const way = it.to > it.from ? '▲ up' : it.to < it.from ? '▼ down' : '= same';
  return h('li', { 'data-key': it.time }, h('time', { class: 'muted', datetime: it.time, title: it.time }, clock(it.time)),
    h('span', { class: 'badge none' }, `${way} ${it.from} → ${it.to}`), h('span', {}, words(it.reason)));
}

function autoscaler(it) {
  const signals = ((it.decisions || []).slice(-1)[0] || {}).signals;
  return h('article', { class: 'panel', 'data-key': it.pool, 'aria-label': `Autoscaler of pool ${it.pool}` },
    h('div', { class: 'panel-head' }, h('h3', {}, it.pool),
      it.paused ? badge('odd', 'paused') : it.current === it.desired ? badge('good', 'as desired') : badge('odd', 'scaling'),
      it.acts === false && badge('off', 'advises only'),
      h('span', { class: 'grow' }),
      state.mayChange && h('button', { type: 'button', 'data-do': 'autoscaler', 'data-pool': it.pool, 'data-what': it.paused ? 'resume' : 'pause' }, it.paused ? 'Resume…' : 'Pause…')),
    it.held && h('p', {}, badge('odd', 'held'), ` ${it.held}`),
    h('p', {}, h('b', {}, String(it.current)), ' now, ', h('b', {}, String(it.desired)), ' desired',
      it.max !== undefined && `, between ${it.min} and ${it.max}`),
    it.max > 0 && h('meter', { min: 0, max: it.max, value: it.current, 'aria-label': 'Backends now, of the most allowed' }),
    signals && typeof signals === 'object' && h('dl', { class: 'facts' }, Object.entries(signals).map(([name, value]) =>
      h('div', { 'data-key': name }, h('dt', {}, words(name)), h('dd', {}, typeof value === 'object' ? JSON.stringify(value) : String(value))))),
    h('ol', { class: 'events' }, (it.decisions || []).slice(-8).reverse().map(decision)));
}

export function showAutoscalers() {
  const section = byId('autoscalers');
  section.hidden = state.autoscalers.length === 0;
  if (section.hidden) return show(section);
  show(section, h('h2', {}, 'Autoscaling'), h('div', { class: 'cards' }, state.autoscalers.map(autoscaler)));
}

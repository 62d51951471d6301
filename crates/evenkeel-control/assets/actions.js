// What an operator can do: each asks first, and is refused if somebody else was faster.

import { Refused, change, getTagged, path, token } from "./api.js";
import { byId, h, show } from "./dom.js";
import { STRATEGIES } from "./pools.js";
import { state } from "./state.js";

let refresh = () => {};

export function announce(text) {
  const line = h('p', {}, text);
  byId('announcer').append(line);
  while (byId('announcer').childElementCount > 5) byId('announcer').firstElementChild.remove();
}

/** Asks in a dialog; resolves to the form's values, or to null. */
function ask(dialog, title, inside, verb) {
  const form = h('form', { method: 'dialog' },
    h('h2', { id: `${dialog.id}-title` }, title), inside,
    h('p', { class: 'bad', role: 'alert', hidden: true }),
    h('div', { class: 'buttons' },
      h('button', { value: '', formnovalidate: true, type: 'submit' }, 'Cancel'),
      h('button', { value: 'yes', class: 'main', type: 'submit' }, verb)));
  dialog.replaceChildren(form);
  dialog.returnValue = '';
  dialog.showModal();
  const first = dialog.querySelector('input, select');
  (first || dialog.querySelector('.main')).focus();
  return new Promise((done) => {
    dialog.addEventListener('close', () => {
      done(dialog.returnValue === 'yes' ? Object.fromEntries(new FormData(form)) : null);
    }, { once: true });
  });
}

function explain(error) {
  if (!(error instanceof Refused)) return `The server did not answer: ${error.message}`;
  const fields = (error.problem.errors || []).map((it) => `${it.field || it.path}: ${it.message}`).join('; ');
  const texts = {
    401: 'This needs a token. Press “Token” and try again.',
    403: 'Your token may look, but not change anything.',
    412: 'Somebody else has changed this pool meanwhile. Look at it again, then repeat.',
  };
  return [texts[error.status] || error.message, fields].filter(Boolean).join(' ');
}

/** Shows how a change ended. */
function tell(text, isBad) {
  const box = byId('notices');
  const note = h('p', { class: `notice ${isBad ? 'bad' : 'good'} toast`, role: isBad ? 'alert' : 'status' },
    h('span', { 'aria-hidden': 'true' }, isBad ? '✖ ' : '✔ '), text, ' ',
    h('button', { type: 'button', class: 'quiet', 'data-do': 'dismiss' }, 'Dismiss'));
  document.querySelectorAll('.toast').forEach((old) => old.remove());
  box.before(note);
  announce(text);
  setTimeout(() => note.remove(), isBad ? 20000 : 8000);
}

async function perform(text, act) {
  try {
    await act();
    tell(text, false);
  } catch (error) {
    tell(`${explain(error)}`, true);
    if (error.status === 401) signIn();
  }
  refresh();
}

/** The tag of a pool as it was when the question was put, so that the answer is about that. */
async function tagOf(pool) {
  try {
    return (await getTagged(path('pools', pool))).etag;
  } catch {
    return null;
  }
}

const find = (pool, name) => {
  const found = state.pools.find((it) => it.name === pool);
  return found && found.backends.find((it) => it.name === name);
};

const ADMIN_TEXTS = {
  enabled: ['Enable', 'It takes new traffic again, as its health and its breaker allow.'],
  draining: ['Drain', 'It takes no new requests and no new sessions; what runs ends by itself.'],
  disabled: ['Disable', 'It takes nothing new at all, sticky sessions included.'],
};

async function setAdmin({ pool, backend: name }, admin) {
  const [verb, meaning] = ADMIN_TEXTS[admin];
  const others = state.pools.find((it) => it.name === pool).backends.filter((it) => it.eligible && it.name !== name).length;
  const alone = admin !== 'enabled' && others === 0;
  const tag = tagOf(pool);
  const backend = find(pool, name);
  const answer = await ask(byId('confirm'), `${verb} ${name}?`, [
    h('p', {}, meaning),
    backend && admin !== 'enabled' && h('p', {}, `${backend.in_flight} requests are in flight there now; ${others} other backends take traffic.`),
    alone && h('p', { class: 'bad' }, h('b', {}, '▲ Nobody else is left: clients of this pool will get 503.')),
  ], verb);
  if (!answer) return;
  const etag = await tag;
  await perform(`${name} is ${admin} now.`, () => change('PATCH', path('pools', pool, 'backends', name), { admin }, etag));
}

async function setWeight({ pool, backend: name }) {
  const tag = tagOf(pool);
  const backend = find(pool, name);
  const answer = await ask(byId('confirm'), `Weight of ${name}`, [
    h('p', {}, 'Its share of new traffic against the other weights of the pool; 0 = none.'),
    h('label', {}, 'Weight ', h('input', { name: 'weight', type: 'number', min: 0, max: 65535, step: 1, required: true, value: backend ? backend.weight : 1 })),
  ], 'Set weight');
  if (!answer) return;
  const weight = Number(answer.weight);
  const etag = await tag;
  await perform(`${name} has weight ${weight} now.`, () => change('PATCH', path('pools', pool, 'backends', name), { weight }, etag));
}

async function setStrategy({ pool }) {
  const tag = tagOf(pool);
  const now = state.pools.find((it) => it.name === pool).strategy;
  const known = STRATEGIES.includes(now) ? STRATEGIES : [now, ...STRATEGIES];
  const answer = await ask(byId('confirm'), `Strategy of ${pool}`, [
    h('p', {}, 'How the next backend is chosen. Running requests stay where they are.'),
    h('label', {}, 'Strategy ', h('select', { name: 'strategy' }, known.map((name) => h('option', { value: name, selected: name === now }, name)))),
  ], 'Set strategy');
  if (!answer) return;
  const etag = await tag;
  await perform(`${pool} uses ${answer.strategy} now.`, () => change('PATCH', path('pools', pool), { strategy: answer.strategy }, etag));
}

async function rollback({ revision }) {
  const answer = await ask(byId('confirm'), `Roll back to revision ${revision}?`,
    h('p', {}, 'The configuration becomes what it was then, as a new revision. Running requests go on.'), 'Roll back');
  if (!answer) return;
  await perform(`The configuration is that of revision ${revision} again.`, () => change('POST', path('revisions', revision, 'rollback')));
}

async function migration({ id, what }) {
  const texts = {
    pause: 'The shares stay as they are until it is resumed.',
    resume: 'It goes on from where it stands.',
    approve: 'The next stage begins.',
    abort: 'All traffic goes back to where it came from, at once.',
  };
  const answer = await ask(byId('confirm'), `${what} migration ${id}?`, h('p', {}, texts[what]), what);
  if (!answer) return;
  await perform(`Migration ${id}: ${what} is done.`, () => change('POST', path('migrations', id, what), what === 'approve' ? {} : undefined));
}

async function autoscaler({ pool, what }) {
  const text = what === 'pause' ? 'The number of backends stays as it is until it is resumed.' : 'It scales again.';
  const answer = await ask(byId('confirm'), `${what} the autoscaler of ${pool}?`, h('p', {}, text), what);
  if (answer) await perform(`The autoscaler of ${pool}: ${what} is done.`, () => change('POST', path('autoscalers', pool, what)));
}

/** Asks for a token; kept in this tab only, until it is closed. */
export async function signIn() {
  const dialog = byId('sign-in');
  if (dialog.open) return;
  const answer = await ask(dialog, 'Token', [
    h('p', {}, 'This server wants to know who asks. The token is kept in this tab until you close it.'),
    h('label', {}, 'Token ', h('input', { name: 'token', type: 'password', autocomplete: 'off', value: token.get() || '' })),
    token.get() && h('p', { class: 'muted' }, 'Leave it empty to forget the token.'),
  ], 'Use token');
  if (!answer) return;
  if (answer.token.trim()) token.set(answer.token.trim());
  else token.clear();
  refresh(true);
}

/** What buttons with `data-do` do; `again` loads everything anew. */
export function actionsWith(again) {
  refresh = again;
  return {
    enabled: (it) => setAdmin(it, 'enabled'),
    draining: (it) => setAdmin(it, 'draining'),
    disabled: (it) => setAdmin(it, 'disabled'),
    weight: setWeight,
    strategy: setStrategy,
    rollback,
    migration,
    autoscaler,
    token: signIn,
  };
}

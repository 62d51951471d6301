// What the page knows, and how fast its numbers grow.

const MAX_EVENTS = 500;
/** Rates are over so long, at least from one sample to the next. */
const RATE_MS = 10000;
const MAX_SAMPLES = 12;

export const state = {
  status: null,
  pools: [],
  routes: [],
  requests: [],
  revisions: [],
  migrations: [],
  autoscalers: [],
  config: null,
  history: null,
  events: [],
  loadedAt: 0,
  mayChange: document.documentElement.dataset.access === 'full',
  paused: false,
  /** Documents that this server does not offer, so that they are not asked for again and again. */
  absent: new Set(document.documentElement.dataset.access === 'full' ? [] : ['requests', 'events', 'revisions', 'config']),
};

const samples = new Map();

/** Notes a count; a count that fell begins anew. */
export function sample(key, count, now = performance.now()) {
  let kept = samples.get(key);
  if (!kept || kept[kept.length - 1].count > count) {
    kept = [];
    samples.set(key, kept);
  }
  kept.push({ count, now });
  while (kept.length > 2 && (now - kept[1].now > RATE_MS || kept.length > MAX_SAMPLES)) kept.shift();
}

/** Per second; null before there are two samples. */
export function rate(key) {
  const kept = samples.get(key);
  if (!kept || kept.length < 2) return null;
  const [first, last] = [kept[0], kept[kept.length - 1]];
  const seconds = (last.now - first.now) / 1000;
  return seconds > 0 ? (last.count - first.count) / seconds : null;
}

/** Forgets counts of what is gone. */
export function keepSamples(keys) {
  const wanted = new Set(keys);
  for (const key of samples.keys()) if (!wanted.has(key)) samples.delete(key);
}

export function addEvent(event) {
  state.events.unshift(event);
  state.events.length = Math.min(state.events.length, MAX_EVENTS);
}

export const backendKey = (pool, name) => `backend ${pool}/${name}`;
export const routeKey = (name) => `route ${name}`;

/** Every backend with its pool. */
export const allBackends = () =>
  state.pools.flatMap((pool) => pool.backends.map((backend) => ({ pool, backend })));

export const sum = (numbers) => numbers.reduce((total, number) => total + (number || 0), 0);

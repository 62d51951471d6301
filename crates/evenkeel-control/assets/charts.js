// Charts of the history that the server keeps. Lines differ in their dashes, not by colour alone,
// and the newest numbers stand in words above each chart.

import { byId } from "./dom.js";
import { clock, milliseconds, short } from "./format.js";

const HEIGHT = 190;
/** An axis of time is this long at least: left to itself, one step gets a whole day. */
const MIN_SECONDS = 60;
const DASHES = [[], [6, 4], [2, 3]];
const BORDERS = ['solid', 'dashed', 'dotted'];
const charts = new Map();

function timeRange({ data: [times] }) {
  const end = times[times.length - 1] ?? Date.now() / 1000;
  return [Math.min(times[0] ?? end, end - MIN_SECONDS), end];
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function axes(text) {
  const look = { stroke: css('--muted'), grid: { stroke: css('--line'), width: 1 }, ticks: { stroke: css('--line'), width: 1 }, font: '11px system-ui, sans-serif' };
  return [
    { ...look, values: [[3600, '{HH}:{mm}'], [60, '{HH}:{mm}'], [1, '{HH}:{mm}:{ss}']].map(([incr, form]) => [incr, form, null, null, null, null, null, null, 1]) },
    { ...look, size: 66, values: (_, splits) => splits.map((split) => (split === null ? '' : text(split))) },
  ];
}

/** Steps with nothing on either side: no line leads there, so that each is drawn as a dot. */
function lone(values) {
  const known = (at) => values[at] !== null && values[at] !== undefined;
  return [...values.keys()].filter((at) => known(at) && !known(at - 1) && !known(at + 1));
}

function series(lines, text) {
  const line = ({ label, colour, fill }, index) => ({
    label, stroke: css(colour), width: 2, dash: DASHES[index],
    points: { show: false, size: 4, fill: css(colour), filter: ({ data }, row) => lone(data[row]) },
    fill: fill ? css(fill) : undefined, spanGaps: false,
    value: (_, value) => (value === null || value === undefined ? '–' : text(value)),
  });
  return [{ label: 'time', value: (_, time) => (time ? clock(time * 1000) : '–') }, ...lines.map(line)];
}

function make(id, lines, text) {
  const box = byId(id);
  const plot = new window.uPlot({
    width: Math.max(200, box.clientWidth), height: HEIGHT, padding: [8, 26, 0, 0],
    series: series(lines, text), axes: axes(text),
    scales: { x: { time: true, range: timeRange }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
    cursor: { sync: { key: 'evenkeel' }, drag: { x: false, y: false } },
    legend: { markers: { width: 2, dash: (_, index) => BORDERS[index - 1] } },
  }, [[], ...lines.map(() => [])], box);
  box.querySelectorAll('.u-legend th').forEach((head) => { head.scope = 'row'; });
  return plot;
}

const perSecond = (number) => `${short(number)}/s`;
const KINDS = {
  traffic: { lines: [{ label: 'requests', colour: '--accent', fill: '--accent-soft' }], text: perSecond },
  errors: { lines: [{ label: 'errors', colour: '--bad', fill: '--bad-soft' }], text: perSecond },
  latency: {
    lines: [{ label: 'p50', colour: '--accent' }, { label: 'p95', colour: '--odd' }, { label: 'p99', colour: '--bad' }],
    text: milliseconds,
  },
};

function columns(history) {
  const { step_seconds: length, end, steps } = history;
  const last = Date.parse(end) / 1000;
  const times = steps.map((_, index) => last - (steps.length - 1 - index) * length);
  const of = (key) => steps.map((step) => step[key] ?? null);
  return {
    traffic: [times, steps.map((step) => step.requests / length)],
    errors: [times, steps.map((step) => step.errors / length)],
    latency: [times, of('p50_ms'), of('p95_ms'), of('p99_ms')],
  };
}

const NAMES = { traffic: 'Requests per second', errors: 'Errors (5xx) per second', latency: 'Latency' };

function caption(id, values, text) {
  const newest = values.slice(1).map((column) => column[column.length - 1]);
  const labels = KINDS[id].lines.map(({ label }) => label);
  const now = newest.map((value, index) => (labels.length > 1 ? `${labels[index]} ` : '') + (value === null || value === undefined ? '–' : text(value)));
  const node = byId(`${id}-now`);
  const wanted = `${NAMES[id]}: ${now.join(', ')}`;
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function showCharts(history) {
  if (!history || !window.uPlot) return;
  const values = columns(history);
  for (const [id, { lines, text }] of Object.entries(KINDS)) {
    if (!charts.has(id)) charts.set(id, make(id, lines, text));
    const chart = charts.get(id);
    chart.setData(values[id]);
    // While nobody points at it, the legend tells of now.
    queueMicrotask(() => {
      if (!(chart.cursor.left >= 0)) chart.setLegend({ idx: values[id][0].length - 1 });
    });
    caption(id, values[id], text);
  }
}

/** After the theme or the width has changed. */
export function remake() {
  for (const [id, chart] of charts) {
    const { lines, text } = KINDS[id];
    const kept = chart.data;
    chart.destroy();
    const anew = make(id, lines, text);
    anew.setData(kept);
    charts.set(id, anew);
  }
}

export function resize() {
  for (const [id, chart] of charts) {
    const width = Math.max(200, byId(id).clientWidth);
    if (width !== chart.width) chart.setSize({ width, height: HEIGHT });
  }
}

// Elements from plain descriptions, and one pass that makes what is shown match what should be
// shown: focus, selection and open parts stay where they are.

const SVG = 'http:' + '//www.w3.org/2000/svg';
const SVG_TAGS = new Set(['svg', 'g', 'rect', 'path', 'line', 'text', 'title', 'polyline', 'circle']);

/** An element; attributes that are null, undefined or false are left out. */
export function h(tag, attributes, ...children) {
  const element = SVG_TAGS.has(tag)
    ? document.createElementNS(SVG, tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

/** Makes the children of `parent` look like `wanted`, changing only what differs. */
export function show(parent, ...wanted) {
  const children = wanted.flat(Infinity).filter((child) => child);
  reconcile(parent, children.map((child) => (child instanceof Node ? child : document.createTextNode(child))));
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute('data-key') : null;
}

function reconcile(parent, wanted) {
  const keyed = new Map();
  for (const child of parent.childNodes) {
    const key = keyOf(child);
    if (key !== null) keyed.set(key, child);
  }
  let place = parent.firstChild;
  for (const next of wanted) {
    const key = keyOf(next);
    const match = key !== null ? keyed.get(key) : place && keyOf(place) === null ? place : undefined;
    if (match && match.nodeName === next.nodeName && match.nodeType === next.nodeType) {
      if (match !== place) parent.insertBefore(match, place);
      else place = place.nextSibling;
      update(match, next);
    } else {
      parent.insertBefore(next, place);
    }
  }
  while (place) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

function update(now, next) {
  if (now.nodeType === Node.TEXT_NODE) {
    if (now.data !== next.data) now.data = next.data;
    return;
  }
  // A part that its reader has opened stays open.
  const keep = now.nodeName === 'DETAILS' ? 'open' : null;
  for (const { name } of [...now.attributes]) {
    if (name !== keep && !next.hasAttribute(name)) now.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  reconcile(now, [...next.childNodes]);
}

export const byId = (id) => document.getElementById(id);

/** A state in words with a sign before it, so that its colour is not needed. */
export function badge(kind, text, title) {
  const signs = { good: '✔', odd: '▲', bad: '✖', off: '◼', none: '○' };
  return h('span', { class: `badge ${kind}`, title }, h('span', { 'aria-hidden': 'true' }, signs[kind] || ''), ` ${text}`);
}

/** Options of a select; keeps what is chosen if it still exists. */
export function options(select, groups) {
  const nodes = groups.map(([label, entries]) => {
    const inside = entries.map(([value, text]) => h('option', { value, 'data-key': value }, text));
    return label ? h('optgroup', { label, 'data-key': `group ${label}` }, inside) : inside;
  });
  const chosen = select.value;
  show(select, nodes);
  const exists = [...select.options].some((option) => option.value === chosen);
  select.value = exists ? chosen : (select.options[0] || { value: '' }).value;
}

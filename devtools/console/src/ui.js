// The few parts that every screen is made of.
import { signal } from "@preact/signals";
import { useCallback, useEffect, useId, useLayoutEffect, useRef, useState } from "preact/hooks";
import { Problem, curl, get, log } from "./api.js";
import { contacts } from "./contacts.js";
import { html } from "./html.js";
import { label } from "./words.js";

/** A screen: its title is announced and focused when it opens. */
export function Screen({ title, about, actions, children }) {
  const heading = useRef(null);
  useEffect(() => {
    document.title = `${title} · tntcore console`;
  }, [title]);
  // At once: whoever is quick has the focus somewhere else by the time that effects run.
  useLayoutEffect(() => {
    scrollTo(0, 0);
    heading.current?.focus({ preventScroll: true });
  }, []);
  return html`<div class="screen">
    <header><h1 tabindex="-1" ref=${heading}>${title}</h1>${actions && html`<div class="actions">${actions}</div>`}</header>
    ${about && html`<p class="about">${about}</p>`} ${children}
    <${Calls} />
  </div>`;
}

const MOST_CALLS = 10;
const NOTICE = 6_000; // milliseconds
const TICK = 30_000; // milliseconds

/** The calls that this screen has made, to copy for a shell. */
function Calls() {
  const [before] = useState(log.peek()[0]?.number ?? 0);
  const calls = new Map();
  for (const entry of log.value) if (entry.number > before && !entry.aside) calls.set(curl(entry), entry);
  return html`<details class="calls"><summary>API calls of this screen</summary>
    <ul>${[...calls].slice(0, MOST_CALLS).map(([line, { method, path }]) => html`<li><code>${method} ${path}</code> <${Copy} text=${line}>Copy as curl<//></li>`)}</ul>
  </details>`;
}

/** How often a screen loads anew: one on which somebody waits for something, and any other. In milliseconds. */
export const LIVE = 3_000;
export const CALM = 15_000;

/**
 * Loads something, again when `deps` change or `reload` is called, and every `every` milliseconds while the page is
 * seen; `every` may be a function of what was loaded. What was there before is shown until then. Returns {data, error,
 * stale, reload, set}: data and error are null while it loads for the first time. `merge(before, loaded)` makes one of
 * what is there and what a `reload` brings.
 */
export function useLoad(load, deps = [], every = 0, merge = (before, loaded) => loaded) {
  const [state, setState] = useState({ data: null, error: null, stale: false });
  const current = useRef(0);
  const run = useCallback(async (fresh) => {
    const turn = ++current.current;
    try {
      const loaded = await load();
      if (turn === current.current) setState(({ data }) => ({ data: fresh || !data ? loaded : merge(data, loaded), error: null, stale: false }));
    } catch (error) {
      if (turn === current.current) setState(({ data }) => ({ data, error, stale: false }));
    }
  }, deps);
  useEffect(() => {
    setState((before) => ({ ...before, stale: true }));
    run(true);
    return () => current.current++;
  }, [run]);
  const pause = typeof every === "function" ? every(state.data) : every;
  useEffect(() => {
    const timer = pause && setInterval(() => document.hidden || run(false), pause);
    return () => clearInterval(timer);
  }, [run, pause]);
  const set = (change) => setState((before) => ({ ...before, data: change(before.data) }));
  return { ...state, reload: () => run(false), set };
}

const ROWS = 50;

/**
 * A list of the service, page by page: its `data` is {hits, total, next, partners}, and `more` loads the next page.
 * `partner`: the uuid of whom a hit is with; null if the list names none. `order`: "" for a list without a choice.
 */
export function useList(path, query = {}, { every = 0, partner = ({ contactUuid }) => contactUuid, order = "newest" } = {}) {
  const read = async (next) => {
    const page = await get(path, { limit: ROWS, ...(order && { order }), ...query, next });
    return { ...page, partners: partner && (await contacts(page.hits.map(partner))) };
  };
  const list = useLoad(read, [path, JSON.stringify(query)], every, withOlder);
  const more = async () => {
    const page = await read(list.data.next);
    list.set((before) => ({ ...before, ...page, hits: joined(before.hits, page.hits) }));
  };
  return { ...list, more };
}

/** The newest page, and the older ones that were loaded before; without these if there is a gap between. */
function withOlder(before, page) {
  const last = page.hits.at(-1);
  const place = last ? before.hits.findIndex(({ uuid }) => uuid === last.uuid) : -1;
  if (place < 0) return page;
  return { ...page, hits: joined(page.hits, before.hits.slice(place + 1)), next: before.next };
}

function joined(hits, more) {
  const known = new Set(hits.map(({ uuid }) => uuid));
  return [...hits, ...more.filter(({ uuid }) => !known.has(uuid))];
}

/** Shows what `useLoad` loaded with `children(data)`, or why it could not be loaded. */
export function Loaded({ of, children }) {
  return html`${of.error && html`<${Failure} error=${of.error} retry=${of.reload} />`}
  ${of.data !== null ? html`<div class=${of.stale ? "stale" : ""} aria-busy=${of.stale}>${children(of.data)}</div>` : !of.error && html`<p class="quiet" aria-busy="true">Loading …</p>`}`;
}

/** A problem: what happened and what to do, its stable code, and the id for the operator. */
export function Failure({ error, retry }) {
  if (!error) return null;
  // Other errors than these two are mistakes of this page, and their texts are for programmers.
  const isSaid = error instanceof Problem || error.constructor === Error;
  const text = isSaid ? error.message : `Something on this page is not as expected (${error.message}). Reload it, then try again.`;
  return html`<div class="failure" role="alert">
    <p>${text}</p>
    <p class="quiet">
      ${error.code && html`Code <code>${error.code}</code>`}${error.traceId && html` · Trace <code>${error.traceId}</code>`}
    </p>
    ${retry && html`<button type="button" onClick=${retry}>Try again</button>`}
  </div>`;
}

/** A button that goes to a form further down: the first field within what has this `id`. */
export function ToForm({ id, children }) {
  return html`<button type="button" class="main" onClick=${() => document.querySelector(`#${id} input`).focus()}>${children}</button>`;
}

/** What was done last, as a sentence. The page shows it for a moment, and screen readers say it. */
export const notice = signal("");
let fading = 0;

export function tell(text) {
  notice.value = text;
  clearTimeout(fading);
  fading = setTimeout(() => (notice.value = ""), NOTICE);
}

/** Moves the focus to the title if what had it is gone, so that whoever uses the keyboard need not begin at the top. */
function keepFocus() {
  requestAnimationFrame(() => {
    if (document.activeElement === document.body) document.querySelector("main h1")?.focus({ preventScroll: true });
  });
}

/** A button that does something, and says so with `done`. While it runs it cannot be pressed again; if it fails it says why. */
export function Do({ run, children, ask, done, kind = "" }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  async function press() {
    if (busy || (ask && !confirm(ask))) return;
    setBusy(true);
    setError(null);
    try {
      await run();
      if (done) tell(done);
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
    keepFocus();
  }
  // Not `disabled`, which takes the focus away from whoever uses the keyboard.
  return html`<span class="do">
    <button type="button" class=${kind} aria-disabled=${busy} aria-busy=${busy} onClick=${press}>${children}</button>
    <${Failure} error=${error} />
  </span>`;
}

/** A form. `run(values)` gets its fields by name: check boxes as true or false, and what is empty left out. `done`: as of `Do`. */
export function Form({ run, submit, children, done, kind = "main", reset = false }) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  async function send(event) {
    event.preventDefault();
    if (busy) return;
    const form = event.currentTarget;
    setBusy(true);
    setError(null);
    try {
      await run(valuesOf(form));
      if (reset) form.reset();
      if (done) tell(done);
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
    keepFocus();
  }
  return html`<form onSubmit=${send} autocomplete="off">
    ${children}
    <${Failure} error=${error} />
    <div class="actions"><button type="submit" class=${kind} aria-disabled=${busy} aria-busy=${busy}>${submit}</button></div>
  </form>`;
}

function valuesOf(form) {
  const values = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled) continue;
    if (field.type === "checkbox") values[field.name] = field.checked;
    else if (field.type === "radio") field.checked && (values[field.name] = field.value);
    else if (field.type === "file") values[field.name] = [...field.files];
    else if (field.type === "datetime-local") field.value && (values[field.name] = new Date(field.value).toISOString());
    else if (field.value !== "") values[field.name] = field.value;
  }
  return values;
}

/**
 * A field with its label, and a hint below. `options` makes it a choice: [[value, text]]; `rows` an area of text.
 * `value` is what it begins with: it is set again when it changes, and not when the screen is only drawn again, since
 * screens load themselves anew while somebody types.
 */
export function Field({ text, hint, options, rows, value, ...rest }) {
  const id = useId();
  const field = useRef(null);
  useLayoutEffect(() => {
    const wanted = value ?? "";
    if (!options) field.current.value = field.current.defaultValue = wanted;
    else if (options.some(([one]) => one === wanted)) field.current.value = wanted;
  }, [value, options?.map(([one]) => one).join()]);
  const given = { id, ref: field, ...rest, "aria-describedby": hint ? `${id}-hint` : undefined };
  const shown = options
    ? html`<select ...${given}>${options.map(([one, words]) => html`<option key=${one} value=${one}>${words}</option>`)}</select>`
    : rows
      ? html`<textarea rows=${rows} ...${given}></textarea>`
      : html`<input type="text" spellcheck=${false} ...${given} />`;
  return html`<div class="field"><label for=${id}>${text}</label>${shown}${hint && html`<small id=${`${id}-hint`}>${hint}</small>`}</div>`;
}

/** A local time, as a field for times takes it. */
export function localMinute(at) {
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, "2026-01-31T12:00".length);
}

/** The local time in a year, as a field for times takes it. */
export function inAYear() {
  const at = new Date();
  at.setFullYear(at.getFullYear() + 1);
  return localMinute(at);
}

export function Check({ text, hint, ...rest }) {
  const id = useId();
  return html`<div class="check">
    <input type="checkbox" id=${id} ...${rest} aria-describedby=${hint ? `${id}-hint` : undefined} />
    <label for=${id}>${text}</label>${hint && html`<small id=${`${id}-hint`}>${hint}</small>`}
  </div>`;
}

const STEP = 50;

/**
 * A table, which is a list of cards on a narrow screen. `columns`: [[title, (hit) => cell]]. It shows 50 rows, and more
 * when asked to; with `list`, which `useList` returned, it loads them. `empty` says what to do next.
 */
export function Table({ columns, hits, empty, caption, list }) {
  const [shown, setShown] = useState(STEP);
  const rows = list ? list.data.hits : hits.slice(0, shown);
  const left = list ? 0 : hits.length - rows.length;
  if (!rows.length) return html`<p class="empty">${empty}</p>`;
  // The roles are said, since a narrow screen shows rows as blocks, and browsers then forget that it is a table.
  return html`<table role="table">
      <caption>${caption}</caption>
      <thead role="rowgroup"><tr role="row">${columns.map(([title]) => html`<th role="columnheader" scope="col">${title || html`<span class="unseen">What to do</span>`}</th>`)}</tr></thead>
      <tbody role="rowgroup">
        ${rows.map(
          (hit) => html`<tr role="row" key=${hit.uuid ?? hit.id}>${columns.map(([title, cell]) => html`<td role="cell" data-title=${title}><div>${cell(hit)}</div></td>`)}</tr>`,
        )}
      </tbody>
    </table>
    ${list?.data.next && html`<p><${Do} run=${list.more}>Show more<//></p>`}
    ${left > 0 && html`<p><button type="button" onClick=${() => setShown(shown + STEP)}>Show ${Math.min(STEP, left)} more of ${hits.length}</button></p>`}`;
}

/** Says how much of a list is here. `of` is what `all`, `sorted`, `newest` return, or the data of `useList`. */
export function HowMany({ of: { hits, total, next, isWhole = next === null }, what, plural = `${what}s` }) {
  const count = hits.length;
  const number = (many) => many.toLocaleString("en");
  if (isWhole) return html`<p class="quiet">${number(count)} ${count === 1 ? what : plural}</p>`;
  if (!total) return html`<p class="quiet">The last ${number(count)} ${plural}</p>`;
  return html`<p class="quiet">The last ${number(count)} of ${number(total.value)}${total.relation === "gte" ? " or more" : ""} ${plural}</p>`;
}

/** Members of a thing, by name: [[title, value]]. What is null or empty is left out. */
export function Facts({ of }) {
  const known = of.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return html`<dl>${known.map(([title, value]) => html`<div><dt>${title}</dt><dd>${value}</dd></div>`)}</dl>`;
}

/** A number of bytes, in kB, MB or GB. */
export function size(bytes) {
  const [unit, name] = bytes < 1e6 ? [1e3, "kB"] : bytes < 1e9 ? [1e6, "MB"] : [1e9, "GB"];
  return `${(bytes / unit).toFixed(1)} ${name}`;
}

export function Status({ of }) {
  return html`<span class=${`status ${String(of).toLowerCase()}`}>${label(of)}</span>`;
}

const UNITS = [
  [86_400, "day"],
  [3_600, "hour"],
  [60, "minute"],
];
const FAR = 30 * 86_400; // seconds: from then on a date says more
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

/** Counts on, so that "just now" does not stay. */
const clock = signal(0);
setInterval(() => clock.value++, TICK);

/** A time as people say it, such as "2 hours ago". `ahead`: it is to come; otherwise a moment ahead is another clock's. */
export function Time({ at, ahead = false }) {
  clock.value;
  if (!at) return html`<span class="quiet">never</span>`;
  const seconds = (new Date(at) - Date.now()) / 1000;
  const whole = new Date(at).toLocaleString();
  if (Math.abs(seconds) > FAR) return html`<time datetime=${at} title=${whole}>${new Date(at).toLocaleDateString("en", { dateStyle: "medium" })}</time>`;
  const [size, unit] = UNITS.find(([size]) => Math.abs(seconds) >= size) ?? [1, "second"];
  const text = Math.abs(seconds) < 10 ? (ahead ? "in a moment" : "just now") : RELATIVE.format(Math.round(seconds / size), unit);
  return html`<time datetime=${at} title=${whole}>${text}</time>`;
}

/** A button that copies a text. */
export function Copy({ text, children = "Copy" }) {
  const [done, setDone] = useState("");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      setDone("Copied");
    } catch {
      setDone("Not copied: select the text and copy it yourself");
    }
    setTimeout(() => setDone(""), 2_000);
  }
  return html`<button type="button" class="small" onClick=${copy}><span aria-live="polite">${done || children}</span></button>`;
}

/** A text to take along, such as a link or a program, with a button that copies it. */
export function Text({ of, title }) {
  return html`<figure class="text">
    <figcaption>${title} <${Copy} text=${of} /></figcaption>
    <pre tabindex="0">${of}</pre>
  </figure>`;
}

/** A secret that is shown this once, brought into view. `use`: what to do with it. */
export function Secret({ title, of, use }) {
  const place = useRef(null);
  useLayoutEffect(() => place.current.scrollIntoView({ block: "nearest" }), [of]);
  return html`<div class="secret" role="status" ref=${place}>
    <p><strong>${title}</strong> It is shown only now. Store it before you leave this page.${use && html` ${use}`}</p>
    <code>${of}</code> <${Copy} text=${of} />
  </div>`;
}

/** JSON as it is, folded away. */
export function Json({ of, title = "JSON" }) {
  const text = JSON.stringify(of, null, 2);
  return html`<details><summary>${title}</summary><${Text} of=${text} title="As the API shows it" /></details>`;
}

const LONG = 60;

/** An identifier; a long one is cut, and can be copied whole. */
export function Short({ of }) {
  return html`<code title=${of}>${of.length > LONG ? `${of.slice(0, 24)}…${of.slice(-6)}` : of}</code> <${Copy} text=${of} />`;
}

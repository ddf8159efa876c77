// The only module that calls the service. Other modules name a path and get what was answered, or a Problem.
import { signal } from "@preact/signals";
import { session, signOut } from "./session.js";

const BASE = new URL("../", new URL(document.body.dataset.base, location.href));
const HEADERS = { tenant: "tnt-subscription-key", operator: "tnt-operator-key" };
const VARIABLES = { tenant: "$TNT_KEY", operator: "$TNT_OPERATOR_KEY" };
const MOST_LOGGED = 200;
const PAGE = 200;
const MOST_PAGES = 5;

/** The calls of this session, the newest first: {number, at, method, path, body, status, took, kind, aside}. */
export const log = signal([]);
// Whoever signs in next must not see what was sent before.
session.subscribe(() => (log.value = []));
let number = 0;

/** An answer that says no. `message` is a sentence for people, `code` is stable, `traceId` is for the operator. */
export class Problem extends Error {
  constructor(detail, code, status = 0, traceId = "") {
    super(detail);
    Object.assign(this, { code, status, traceId });
  }
}

/**
 * Calls the service. `options`: {query, body, headers, as: {kind, key}, aside, expected}. `aside` is true if the screen
 * that is shown has no part in it; `expected` is the status of an error that is an answer too. Returns the parsed
 * answer; null for an empty one.
 */
export async function call(method, path, options = {}) {
  const response = await send(method, path, options);
  const text = await response.text();
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem("Something between you and the service answered in its place. Check your network, then try again.", "no-json", response.status);
  }
}

export const get = (path, query) => call("GET", path, { query });
export const post = (path, body) => call("POST", path, { body });
export const put = (path, body) => call("PUT", path, { body });
export const remove = (path) => call("DELETE", path);

/** Returns a picture as a URL that only this page can read; see URL.revokeObjectURL. */
export async function picture(path) {
  return URL.createObjectURL(await (await send("GET", path, {})).blob());
}

async function send(method, path, { query = {}, body, headers: more = {}, as = session.value, aside = false, expected }) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== null && value !== "") url.searchParams.set(name, value);
  }
  const began = performance.now();
  const entry = { number: ++number, at: new Date().toISOString(), method, path: url.pathname + url.search, body, aside };
  const headers = { ...(as && { [HEADERS[as.kind]]: as.key }), ...more };
  if (body !== undefined) headers["content-type"] = "application/json";
  const request = { method, headers, credentials: "omit", cache: "no-store", redirect: "error" };
  if (body !== undefined) request.body = JSON.stringify(body);
  let response;
  try {
    response = await fetch(url, request);
  } catch {
    throw new Problem("The service did not answer. Check your network, then try again.", "no-answer");
  } finally {
    Object.assign(entry, { status: response?.status ?? 0, took: Math.round(performance.now() - began), kind: as?.kind });
    log.value = [entry, ...log.value].slice(0, MOST_LOGGED);
  }
  if (response.ok || response.status === expected) return response;
  const problem = await read(response);
  if (session.value && as === session.value && response.status === 401) signOut(problem.message);
  throw problem;
}

async function read(response) {
  try {
    const { type, detail, traceId } = await response.json();
    if (typeof detail !== "string") throw new TypeError("no problem");
    return new Problem(detail, String(type).split(":").pop(), response.status, String(traceId));
  } catch {
    const text = `The service answered with status ${response.status} and no explanation. Try again later.`;
    return new Problem(text, `http-${response.status}`, response.status);
  }
}

/** Returns the call as a line for a shell. The key is a variable in it. */
export function curl({ method, path, body, kind }) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = ["curl", "-sS", "-X", method, quoted(new URL(path, location.origin).href)];
  if (kind) parts.push("-H", `"${HEADERS[kind]}: ${VARIABLES[kind]}"`);
  if (body !== undefined) parts.push("-H", quoted("content-type: application/json"), "-d", quoted(JSON.stringify(body)));
  return parts.join(" ");
}

/** Returns everything in a list, up to MOST_PAGES pages: {hits, total, isWhole}. */
export async function all(path, query = {}) {
  const hits = [];
  let page;
  let next;
  for (let pages = 0; pages < MOST_PAGES && next !== null; pages++) {
    page = await get(path, { limit: PAGE, ...query, next });
    hits.push(...page.hits);
    next = page.next;
  }
  return { hits, total: page.total ?? { value: hits.length, relation: "eq" }, isWhole: next === null };
}

/** Returns everything in a list, the newest first. As `all`. */
export const sorted = (path, query) => all(path, { ...query, order: "newest" });

/** Returns the newest page of a list. As `all`. */
export async function newest(path, query) {
  const { hits, total, next } = await get(path, { limit: PAGE, ...query, order: "newest" });
  return { hits, total, isWhole: next === null };
}

/** Returns what a setting is set to; `absent` if it is not set. */
export async function settingOf(key, absent) {
  try {
    return (await get(`settings/${key}`)).setting;
  } catch (problem) {
    if (problem.code === "setting-unknown") return absent;
    throw problem;
  }
}

/** Returns the entries of a webhook setting, each with the `key` of its setting. */
export const entriesOf = async (key) => (await settingOf(key, [])).map((entry) => ({ ...entry, key }));

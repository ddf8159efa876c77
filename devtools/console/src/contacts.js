// Partners by their uuid, for screens that name them. A company may have thousands: the newest are read at once, and
// others when a screen names them.
import { get, newest } from "./api.js";
import { html } from "./html.js";
import { isUuid, to } from "./route.js";
import { session } from "./session.js";
import { nameOf } from "./words.js";

const FRESH = 15_000; // milliseconds
let remembered = null;
let known = new Map();
session.subscribe(forgetContacts);

export function forgetContacts() {
  remembered = null;
  known = new Map();
}

/** Returns the newest partners, and names of all whose uuids are given: {hits, isWhole, name(uuid)}. */
export async function contacts(uuids = []) {
  if (!remembered || Date.now() - remembered.at > FRESH) remembered = { at: Date.now(), loading: newest("contact") };
  const names = known;
  let page;
  try {
    page = await remembered.loading;
  } catch (error) {
    forgetContacts();
    throw error;
  }
  for (const contact of page.hits) names.set(contact.uuid, contact);
  await Promise.all([...new Set(uuids)].filter((uuid) => isUuid(uuid) && !names.has(uuid)).map((uuid) => find(uuid, names)));
  return {
    ...page,
    name: (uuid) => (names.get(uuid) ? nameOf(names.get(uuid)) : uuid ? "a deleted partner" : "an unknown sender"),
  };
}

async function find(uuid, names) {
  try {
    names.set(uuid, await get(`contact/${uuid}`));
  } catch (problem) {
    if (problem.code !== "contact-unknown") throw problem;
    names.set(uuid, null);
  }
}

/** The names of those that hits of a list are with. */
export const partnersOf = (hits) => contacts(hits.map(({ contactUuid }) => contactUuid));

/** A partner's name, as a link to its screen if it is known. `among`: what `contacts` returned. */
export const PartnerLink = ({ uuid, among }) => (uuid ? html`<a href=${to("partners", uuid)}>${among.name(uuid)}</a>` : among.name(uuid));

/** Partners as choices of a field. */
export const choices = (hits) => hits.map((contact) => [contact.uuid, `${nameOf(contact)}${contact.status === "ACCEPTED" ? "" : " (not connected yet)"}`]);

// Partners by their uuid, for screens that name them. Remembered for a moment, as every screen asks.
import { all } from "./api.js";
import { session } from "./session.js";
import { nameOf } from "./words.js";

const FRESH = 15_000; // milliseconds
let remembered = null;
session.subscribe(forgetContacts);

export function forgetContacts() {
  remembered = null;
}

/** Returns the partners: {hits, of(uuid), name(uuid)}. */
export async function contacts() {
  if (!remembered || Date.now() - remembered.at > FRESH) remembered = { at: Date.now(), loading: load() };
  try {
    return await remembered.loading;
  } catch (error) {
    forgetContacts();
    throw error;
  }
}

async function load() {
  const found = await all("contact");
  const known = new Map(found.hits.map((contact) => [contact.uuid, contact]));
  return {
    ...found,
    of: (uuid) => known.get(uuid),
    name: (uuid) => (known.has(uuid) ? nameOf(known.get(uuid)) : uuid ? "a partner not in the list" : "an unknown sender"),
  };
}

/** The partners as choices of a field. */
export const choices = (found) => found.hits.map((contact) => [contact.uuid, `${nameOf(contact)}${contact.status === "ACCEPTED" ? "" : " (not connected yet)"}`]);

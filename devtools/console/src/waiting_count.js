// How much waits for a decision, for the menu and Home. It costs three calls, of which each counts to a bound.
import { signal } from "@preact/signals";
import { call } from "./api.js";
import { session } from "./session.js";

/** The states of connections that need a decision. */
export const UNDECIDED = ["request-received", "invitation-received"];
const EVERY = 30_000; // milliseconds

/** {exchanges, connections}; null until they were counted for the company that is signed in. */
export const waitingCount = signal(null);

/** Counts anew, and returns the counts. `aside`: as of `call`. */
export async function countWaiting({ aside = false } = {}) {
  const asking = session.value;
  const of = async (path, query) => (await call("GET", path, { query: { ...query, limit: 1 }, aside })).total.value;
  const [exchanges, ...connections] = await Promise.all([of("exchange", { status: "WAITING" }), ...UNDECIDED.map((state) => of("connection", { state }))]);
  const counted = { exchanges, connections: connections.reduce((sum, one) => sum + one, 0) };
  if (session.value === asking) waitingCount.value = counted;
  return counted;
}

/** Counts for the menu, which shows what it had if that fails. */
function look() {
  if (session.value?.kind === "tenant" && !document.hidden) countWaiting({ aside: true }).catch(() => {});
}

/** Keeps the count of whoever is signed in. */
export function watchWaiting() {
  session.subscribe(() => {
    waitingCount.value = null;
    look();
  });
  setInterval(look, EVERY);
}

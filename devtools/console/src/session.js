// Who is signed in. The key is kept in memory and, if wanted, in this tab's sessionStorage; never in a URL.
import { signal } from "@preact/signals";

export const IDLE_MINUTES = 15;
const KEPT = "tnt-console";

/** null, or {kind: "tenant" | "operator", key, about}: `about` is what the service says of the key. */
export const session = signal(null);
/** Why the last session ended, as a sentence. */
export const farewell = signal("");

let lastSeen = Date.now();

export function signIn(kind, key, about, keep) {
  seen();
  session.value = { kind, key, about };
  farewell.value = "";
  if (keep) sessionStorage.setItem(KEPT, JSON.stringify({ kind, key, lastSeen }));
}

export function signOut(why = "") {
  sessionStorage.removeItem(KEPT);
  session.value = null;
  farewell.value = why;
}

/** The key that this tab keeps from before it was reloaded, as {kind, key}; null if there is none or it is too old. */
export function kept() {
  try {
    const found = JSON.parse(sessionStorage.getItem(KEPT));
    if (found && Date.now() - found.lastSeen < IDLE_MINUTES * 60_000) return found;
  } catch {
    // Somebody else's entry: as if there were none.
  }
  sessionStorage.removeItem(KEPT);
  return null;
}

function seen() {
  lastSeen = Date.now();
}

/** Signs out whoever does nothing for IDLE_MINUTES. */
export function watchIdle() {
  for (const event of ["pointerdown", "keydown", "scroll"]) addEventListener(event, seen, { passive: true, capture: true });
  setInterval(() => {
    if (!session.value) return;
    if (Date.now() - lastSeen > IDLE_MINUTES * 60_000) {
      signOut(`You were signed out after ${IDLE_MINUTES} minutes without activity.`);
    } else if (sessionStorage.getItem(KEPT)) {
      const { kind, key } = session.value;
      sessionStorage.setItem(KEPT, JSON.stringify({ kind, key, lastSeen }));
    }
  }, 5_000);
}

// Where in the console we are: the hash of the URL, such as #/messages?direction=IN. It never has a secret in it.
import { signal } from "@preact/signals";

function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), query: new URLSearchParams(query) };
}

export const route = signal(read());
addEventListener("hashchange", () => (route.value = read()));

/** Returns the link to a screen. */
export function to(...path) {
  return `#/${path.map(encodeURIComponent).join("/")}`;
}

export function go(...path) {
  location.hash = to(...path);
}

/** Sets filters in the URL, so that going back finds them again. */
export function setQuery(values) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value) query.set(name, value);
  const text = query.toString();
  location.hash = to(...route.value.path) + (text ? `?${text}` : "");
}

// Where in the console we are: the hash of the URL, such as #/messages?direction=IN. It never has a secret in it.
import { signal } from "@preact/signals";

function read() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
}

/** A part of the path. What is not encoded as it has to be stays as it is, and names no screen. */
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export const route = signal(read());
addEventListener("hashchange", () => (route.value = read()));

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Whether a part of the address may go into the path of a call: nothing else may, since anybody can write an address. */
export const isUuid = (text) => UUID.test(text);

/** Returns the link to a screen. */
export function to(...path) {
  return `#/${path.map(encodeURIComponent).join("/")}`;
}

export function go(...path) {
  location.hash = to(...path);
}

/** Sets filters in the URL, in place of those before: going back leaves the screen. */
export function setQuery(values) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) if (value) query.set(name, value);
  const text = query.toString();
  history.replaceState(null, "", to(...route.value.path) + (text ? `?${text}` : ""));
  route.value = read();
}

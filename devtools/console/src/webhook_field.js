import { entriesOf } from "./api.js";
import { html } from "./html.js";
import { Field, useLoad } from "./ui.js";

const KEYS = ["DIDCOMM_WEBHOOK", "TASK_WEBHOOK"];

/** Returns the entries of both webhook settings; null for a key that may not read settings. */
export async function allEntries() {
  try {
    return (await Promise.all(KEYS.map(entriesOf))).flat();
  } catch (problem) {
    if (problem.code !== "scope-too-low") throw problem;
    return null;
  }
}

/** A choice of a webhook by its id; a field for the id where the key may not list them. `none`: the choice of no one. */
export function WebhookField({ text = "Webhook", none = "All", value = "", ...rest }) {
  const { data, error } = useLoad(async () => ({ entries: await allEntries() }));
  if (error || data?.entries === null) return html`<${Field} text=${text} value=${value} maxlength="64" placeholder="its id" ...${rest} />`;
  const ids = [...new Set([...(data?.entries ?? []).map(({ id }) => id), value])].filter(Boolean);
  return html`<${Field} text=${text} value=${value} options=${[["", none], ...ids.map((id) => [id, id])]} ...${rest} />`;
}

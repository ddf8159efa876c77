import { curl, log } from "../api.js";
import { html } from "../html.js";
import { Copy, Screen, Table, Time } from "../ui.js";

export function RequestLog() {
  const columns = [
    ["When", ({ at }) => html`<${Time} at=${at} />`],
    ["Call", ({ method, path }) => html`<code>${method} ${path}</code>`],
    ["Status", ({ status }) => status || "no answer"],
    ["Took", ({ took }) => `${took} ms`],
    ["", (entry) => html`<${Copy} text=${curl(entry)}>Copy as curl<//>`],
  ];
  const hits = log.value.map((entry) => ({ ...entry, uuid: entry.number }));
  return html`<${Screen} title="Request log" about="What this console has asked the API since you signed in, the newest first. In a copied call your key is the variable $TNT_KEY (an operator's $TNT_OPERATOR_KEY).">
    <${Table} caption="Calls" columns=${columns} hits=${hits} empty="Nothing has been asked yet." />
  <//>`;
}

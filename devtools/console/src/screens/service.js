import { get } from "../api.js";
import { html } from "../html.js";
import { session } from "../session.js";
import { Facts, Loaded, Screen, Status, Time, useLoad } from "../ui.js";

/** Whether the service and its storage answer. Unwell, it answers 503 with the same body, which is shown as a problem. */
export function Health() {
  const health = useLoad(() => get("health"), [], 15_000);
  return html`<${Loaded} of=${health}>${({ status, storage }) =>
    html`<p><${Status} of=${status === "ok" ? "healthy" : status} /> ${Object.entries(storage).map(([part, well]) => html` ${part}: ${well ? "ok" : "away"}`)}</p>`}<//>`;
}

export function Service() {
  const { about } = session.value;
  const health = useLoad(() => get("health"));
  return html`<${Screen} title="Service">
    <section><h2>Health</h2><${Health} /></section>
    <section><h2>Version</h2><${Loaded} of=${health}>${({ version, commit }) => html`<${Facts} of=${[["Version", version], ["Commit", commit]]} />`}<//></section>
    <section>
      <h2>Your key</h2>
      <${Facts} of=${[["Name", about.name], ["Role", about.role], ["Expires", about.expiresAt && html`<${Time} at=${about.expiresAt} />`]]} />
    </section>
  <//>`;
}

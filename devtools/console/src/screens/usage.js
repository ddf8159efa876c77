import { get } from "../api.js";
import { html } from "../html.js";
import { Facts, Loaded, Screen, Table, size, useLoad } from "../ui.js";

const number = (name) => (month) => month[name].toLocaleString("en");
const NAMES = {
  messagesIn: "Messages in", messagesOut: "Messages out", credentialsIssued: "Credentials issued", credentialsReceived: "Credentials received",
  presentationsReceived: "Proofs received", presentationsSent: "Proofs given",
};

export function Usage() {
  return html`<${Screen} title="Usage" about="What you did in each month, in UTC. Refused messages are not counted."><${Months} path="usage" /><//>`;
}

/** What a tenant did in each month: `path` is whose. */
export function Months({ path }) {
  const found = useLoad(() => get(path), [path]);
  return html`<${Loaded} of=${found}>${({ months, storedBytes }) => html`
    <${Facts} of=${[["Stored now", size(storedBytes)]]} />
    <${Table} caption="Usage by month" hits=${months.map((month) => ({ ...month, id: month.month }))} empty="Nothing was done yet. A month appears within a minute of its first message." columns=${[
      ["Month", ({ month }) => new Date(month).toLocaleDateString("en", { month: "long", year: "numeric", timeZone: "UTC" })],
      ...Object.entries(NAMES).map(([name, title]) => [title, number(name)]),
      ["Bytes", ({ bytes }) => size(bytes)],
    ]} />`}<//>`;
}

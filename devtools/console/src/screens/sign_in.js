import { useState } from "preact/hooks";
import { call } from "../api.js";
import { html } from "../html.js";
import { IDLE_MINUTES, farewell, kept, signIn, signOut } from "../session.js";
import { Check, Field, Form } from "../ui.js";

const KINDS = {
  tenant: {
    title: "Company",
    field: "Subscription key",
    hint: "It begins with tnt_. Your operator or a colleague with an admin key made it.",
    path: "account",
  },
  operator: {
    title: "Operator",
    field: "Operator's key",
    hint: "It begins with tnto_. It manages tenants, and reads no messages.",
    path: "operator/me",
  },
};

async function open(kind, key, keep) {
  signIn(kind, key, await call("GET", KINDS[kind].path, { as: { kind, key } }), keep);
}

/** The kind of a key, as it begins; `chosen` if it begins otherwise. */
const kindOf = (key, chosen) => (key.startsWith("tnto_") ? "operator" : key.startsWith("tnt_") ? "tenant" : chosen);

/** Signs in again after the page was reloaded, if this tab keeps a key. */
export async function resume() {
  const found = kept();
  if (!found) return;
  try {
    await open(found.kind, found.key, true);
  } catch (problem) {
    signOut(problem.message);
  }
}

export function SignIn() {
  const [kind, setKind] = useState("tenant");
  const { field, hint } = KINDS[kind];
  return html`<main class="sign-in">
    <h1>tntcore console</h1>
    ${farewell.value && html`<p role="status">${farewell.value}</p>`}
    <div role="group" aria-label="Sign in as" class="choice">
      ${Object.entries(KINDS).map(
        ([name, { title }]) => html`<button type="button" aria-pressed=${kind === name} onClick=${() => setKind(name)}>${title}</button>`,
      )}
    </div>
    <${Form} key=${kind} submit="Sign in" run=${({ key, keep }) => open(kindOf(key.trim(), kind), key.trim(), keep)}>
      <${Field} text=${field} name="key" type="password" autocomplete="off" required hint=${hint} />
      <${Check} text="Keep the key in this tab" name="keep" hint=${`So that a reload does not sign you out. ${IDLE_MINUTES} minutes without activity do, in any case.`} />
    <//>
    <p class="quiet">The key stays in this browser and is sent to this service alone.</p>
  </main>`;
}

// The console. It decides who is signed in and which screen the URL names; screens/ has one file for each.
import { render } from "preact";
import { useEffect, useErrorBoundary, useState } from "preact/hooks";
import "@preact/signals";
import { html } from "./html.js";
import { isUuid, route, to } from "./route.js";
import { session, signOut, watchIdle } from "./session.js";
import { SignIn, resume } from "./screens/sign_in.js";
import { OPERATOR, TENANT } from "./screens.js";
import { Screen, notice } from "./ui.js";
import { waitingCount, watchWaiting } from "./waiting_count.js";

function App() {
  const [ready, setReady] = useState(false);
  useEffect(() => {
    resume().finally(() => setReady(true));
  }, []);
  if (!ready) return html`<p class="quiet" aria-busy="true">Loading …</p>`;
  return session.value ? html`<${Shell} />` : html`<${SignIn} />`;
}

function Shell() {
  const { kind, about } = session.value;
  const groups = kind === "tenant" ? TENANT : OPERATOR;
  const [first = "", ...rest] = route.value.path;
  const screens = groups.flatMap(([, screens]) => screens);
  const found = screens.find(({ path }) => path === first);
  const known = found && rest.length <= 1 && rest.every(isUuid);
  return html`<a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <div class="bar">
      <a class="brand" href=${to()}>tntcore</a>
      <span class="who" title=${about.principalUuid ?? about.uuid}>${about.displayName ?? about.name}<small>${about.key?.scope ?? `operator, ${about.role}`}</small></span>
      <button type="button" onClick=${() => signOut("You are signed out.")}>Sign out</button>
    </div>
    <div class="frame">
      <${Navigation} groups=${groups} now=${found} />
      <main id="main" tabindex="-1" key=${route.value.path.join("/")}><${Guarded} screen=${known ? found.screen : NoScreen} path=${rest} /></main>
    </div>
    <p class="notice" role="status">${notice.value}</p>`;
}

function NoScreen() {
  return html`<${Screen} title="There is no such screen"><p>The address may be incomplete, or of another version of the console. Choose a screen in the menu, or go to the <a href=${to()}>first one</a>.</p><//>`;
}

/** A screen. If it cannot be shown it says so, and the others are as they were. */
function Guarded({ screen, path }) {
  const [error] = useErrorBoundary((caught) => console.error(caught));
  if (error) return html`<h1 tabindex="-1">This screen cannot be shown</h1><p>Something in it is not as expected (${error.message}). Choose another screen, or reload the page.</p>`;
  return html`<${screen} path=${path} />`;
}

function Navigation({ groups, now }) {
  const [open, setOpen] = useState(false);
  return html`<nav aria-label="Screens">
    <button type="button" class="menu" aria-expanded=${open} onClick=${() => setOpen(!open)}>Menu <${HowManyWait} /></button>
    <div class=${open ? "open" : ""}>
      ${groups.map(
        ([title, screens]) => html`<h2>${title}</h2>
          <ul>
            ${screens.map(
              (screen) => html`<li><a href=${to(screen.path)} aria-current=${screen === now ? "page" : undefined} onClick=${() => setOpen(false)}>${screen.title}${screen.path === "waiting" && html` <${HowManyWait} />`}</a></li>`,
            )}
          </ul>`,
      )}
    </div>
  </nav>`;
}

function HowManyWait() {
  const { exchanges = 0, connections = 0 } = waitingCount.value ?? {};
  const many = exchanges + connections;
  return many > 0 && html`<span class="many">${many.toLocaleString("en")}</span>`;
}

function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

watchIdle();
watchWaiting();
render(html`<${App} />`, document.getElementById("app"));

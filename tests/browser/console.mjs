// What the visits of the console share: one browser, one page that notes what it must not do, and ways to look at it.

import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "../../devtools/browser/chromium.mjs";

const AXE = join(dirname(fileURLToPath(import.meta.url)), "../../devtools/console/node_modules/axe-core/axe.min.js");
const SERIOUS = ["serious", "critical"];
const PHONE = 390;
// A phone, a tablet, and the narrowest screen with the menu beside its tables.
const WIDTHS = [PHONE, 820, 1121];

/** What a button is called, without the numbers in it. */
const buttonName = (text) => text.replace(/\d[\d,]*/g, "N").trim();

/** Runs `visit({page, seen, look, ...})` in a new browser, and prints what was seen as JSON. */
export async function visiting(url, folder, visit) {
  const seen = { requests: [], complaints: [], screens: {}, dialogs: [] };
  const pressed = new Set();
  const shown = new Map(); // buttons, with where each was first
  const browser = await launch();
  try {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, colorScheme: "light", permissions: ["clipboard-read", "clipboard-write"] });
    const page = await context.newPage();
    page.setDefaultTimeout(60_000);
    page.on("request", (request) => seen.requests.push(request.url()));
    page.on("console", (said) => ["error", "warning"].includes(said.type()) && seen.complaints.push(said.text()));
    page.on("pageerror", (error) => seen.complaints.push(String(error)));
    page.on("dialog", (dialog) => (seen.dialogs.push(dialog.message()), dialog.accept()));
    await page.addInitScript(() => {
      addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
    });
    await page.exposeFunction("noteButton", (text) => pressed.add(buttonName(text)));
    await page.addInitScript(() => {
      addEventListener("click", ({ target }) => target.closest("button") && noteButton(target.closest("button").textContent), true);
    });
    const axe = readFileSync(AXE, "utf8");

    /** Notes all buttons that there are now, also those that are folded away. */
    async function noteButtons() {
      for (const text of await page.locator("button").allTextContents()) {
        const name = buttonName(text);
        if (!shown.has(name)) shown.set(name, page.url().replace(/.*#/, "#"));
      }
    }

    /** Takes a picture from the top of the screen, without the notice of what was done before. */
    async function takePicture(name) {
      const hide = (hidden) => {
        scrollTo(0, 0);
        document.querySelector(".notice").hidden = hidden;
      };
      await page.evaluate(hide, true);
      await page.screenshot({ path: join(folder, `console-${name}.png`) });
      await page.evaluate(hide, false);
    }

    /** Looks at a screen whole, in two widths, with axe. With `picture` it takes one, and looks in the dark as well. */
    async function look(name, picture = false) {
      await page.waitForFunction(() => !document.querySelector("main [aria-busy=true]"));
      await noteButtons();
      if (picture) await takePicture(name);
      // The page forbids a script to make scripts; what drives the browser is not bound by that.
      if (!(await page.evaluate("Boolean(window.axe)"))) await page.evaluate(axe);
      const check = () => page.evaluate(async () => {
        const { violations } = await axe.run(document, { resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21aa"] });
        return violations.map(({ id, impact, nodes }) => ({ id, impact, where: nodes.slice(0, 3).map(({ html }) => html.slice(0, 200)) }));
      });
      const found = await check();
      if (picture) {
        await page.emulateMedia({ colorScheme: "dark" });
        found.push(...(await check()));
        await page.emulateMedia({ colorScheme: "light" });
      }
      const tooWide = [];
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 844 });
        if (await page.evaluate(() => document.scrollingElement.scrollWidth > innerWidth)) tooWide.push(width);
        if (width === PHONE) found.push(...(await check()));
      }
      await page.setViewportSize({ width: 1280, height: 900 });
      seen.screens[name] = { title: await page.locator("h1").first().textContent(), serious: found.filter(({ impact }) => SERIOUS.includes(impact)), tooWide };
    }

    const main = page.locator("main");
    const first = (found) => found.locator("visible=true").first();
    const tools = {
      page,
      seen,
      look,
      main,
      async signIn(kind, key, keep = false) {
        await page.goto(url);
        await page.getByRole("button", { name: kind, exact: true }).click();
        await page.getByLabel(/key$/).first().fill(key);
        if (keep) await page.getByLabel("Keep the key in this tab").check();
        await page.getByRole("button", { name: "Sign in" }).click();
        await page.locator(".bar").waitFor();
      },
      /** Opens a screen by its hash. */
      async open(hash) {
        await page.evaluate((hash) => (location.hash = hash), hash);
        await page.waitForFunction(() => document.querySelector("main h1") && !document.querySelector("main [aria-busy=true]"));
        await noteButtons();
      },
      press: (name, within = main) => first(within.getByRole("button", { name })).click(),
      follow: (name, within = main) => first(within.getByRole("link", { name })).click(),
      fill: (label, text, within = main) => first(within.getByLabel(label)).fill(text),
      shows: (title) => main.locator("h1", { hasText: title }).waitFor(),
      says: (text, within = main) => first(within.getByText(text)).waitFor(),
    };
    await visit(tools);
    seen.untried = [...shown].filter(([name]) => !pressed.has(name));
  } catch (error) {
    const shown = await browser.contexts()[0]?.pages()[0]?.locator("body").innerText().catch(String);
    error.stack += `\nThe page shows: ${shown}`;
    error.stack += `\nComplaints: ${seen.complaints.slice(-5).join("\n")}`;
    throw error;
  } finally {
    await browser.close();
  }
  console.log(JSON.stringify(seen));
}

// Signs in, finds its way with a keyboard and on a phone, and meets what goes wrong, and prints what was seen, as JSON, for test_console.py to judge.
// Arguments: the console's URL, a folder for screenshots, and what there is, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { key, partner, bolt } = JSON.parse(given);

await visiting(url, folder, async ({ page, seen, look, main, signIn, open, press, follow, says, shows, fill }) => {
  // Signing in.
  const opened = await page.goto(url);
  seen.headers = await opened.allHeaders();
  await page.getByLabel("Subscription key").waitFor();
  seen.firstView = await page.evaluate(() => performance.getEntries().reduce((sum, { transferSize = 0 }) => sum + transferSize, 0));
  seen.firstFiles = seen.requests.filter((asked) => !asked.startsWith("data:")).length;
  await look("sign-in");
  await press("Operator");
  await page.getByLabel("Operator's key").waitFor();
  await press("Company");
  await page.getByLabel("Subscription key").fill("tnt_wrong");
  await press("Sign in");
  seen.refused = await page.getByRole("alert").textContent();
  await signIn("Company", key);
  await says("in the last 24 hours");
  await says("disabled");
  await says("onerror");
  seen.home = await main.innerText();
  seen.waiting = await page.getByRole("link", { name: /^Waiting/ }).locator(".many").textContent();
  await look("home", true);

  // Addresses that name nothing. A path goes into calls, so none gets there but what the console itself makes.
  for (const hash of ["#/%", "#/%E0%A4%A", "#/nowhere", "#/messages/..%2Fapi-token", `#/partners/${partner}/more`, "#/constructor"]) {
    await open(hash);
    await shows("There is no such screen");
  }
  await look("nowhere");
  for (const query of ["offer?to=..%2Fapi-token", "messages?contactUuid=..%2Fapi-token"]) await open(`#/${query}`);
  seen.strayed = seen.requests.filter((asked) => asked.includes("/api/api-token"));
  await open("#/nowhere");
  await follow("first one");
  await shows("Home");

  // By keyboard alone: the focus goes to the title of a new screen, and stays on a button that was pressed.
  await page.keyboard.press("Shift+Tab");
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  await page.getByRole("link", { name: "Messages", exact: true }).focus();
  await page.keyboard.press("Enter");
  await shows("Messages");
  await page.waitForFunction(() => document.activeElement.tagName === "H1");
  seen.focusedTitle = await focused();
  await main.getByRole("button", { name: "Refresh" }).focus();
  await page.keyboard.press("Space");
  await page.waitForFunction(() => !document.querySelector("main [aria-busy=true]"));
  seen.focusedButton = await focused();
  await page.getByRole("link", { name: "Skip to the content" }).focus();
  await page.keyboard.press("Enter");
  seen.skippedTo = await page.evaluate(() => document.activeElement.id);

  // On a phone.
  await page.setViewportSize({ width: 390, height: 844 });
  await page.getByRole("button", { name: "Menu" }).click();
  await page.getByRole("link", { name: "Home", exact: true }).click();
  await shows("Home");
  await page.setViewportSize({ width: 1280, height: 900 });

  // What goes wrong on the way is said in words, and can be tried again.
  const calls = "**/api/exchange?*";
  await page.route(calls, (route) => route.abort());
  await open("#/exchanges");
  await says("The service did not answer. Check your network, then try again.");
  await page.unroute(calls);
  await page.route(calls, (route) => route.fulfill({ status: 200, contentType: "text/html", body: "<h1>Log in to our Wi-Fi</h1>" }));
  await press("Try again");
  await says("Something between you and the service answered in its place.");
  await page.unroute(calls);
  await page.route(calls, (route) => route.fulfill({ status: 502, contentType: "text/html", body: "<h1>Bad gateway</h1>" }));
  await press("Try again");
  await says("answered with status 502 and no explanation");
  await page.unroute(calls);
  await page.route(calls, (route) => route.fulfill({ status: 200, json: {} }));
  await press("Try again");
  await says("Something on this page is not as expected");
  await page.unroute(calls);
  await press("Try again");
  await says("offers you a credential");

  // What had the focus is gone: the title has it, and not the beginning of the page.
  await open("#/keys");
  await fill("Name", "for a moment");
  await press("Make the key");
  await main.locator("tr", { hasText: "for a moment" }).getByRole("button", { name: "Revoke" }).focus();
  await page.keyboard.press("Enter");
  await says("revoked");
  await page.waitForFunction(() => document.activeElement !== document.body);
  seen.focusAfterwards = await focused();

  // The calls of the session: more than one part of the list.
  for (let turn = 0; turn < 25; turn++) await open(turn % 2 ? "#/identities" : "#/keys");
  await open("#/log");
  await says("Copy as curl");
  await look("log");
  await press(/^Show \d+ more of/);
  await press("Copy as curl");
  await says("Copied");
  seen.curl = await page.evaluate(() => navigator.clipboard.readText());

  seen.hacked = await page.evaluate(() => "hacked" in window);
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByText("You are signed out.").waitFor();
  seen.signedOut = await page.evaluate(() => ({ local: { ...localStorage }, session: { ...sessionStorage } }));

  // The next one at this tab, which is not loaded again, sees nothing of the calls before.
  await page.getByRole("button", { name: "Company", exact: true }).click();
  await page.getByLabel(/key$/).first().fill(bolt.key);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator(".bar").waitFor();
  await open("#/log");
  await says("status=WAITING");
  seen.next = await main.locator("tbody code").allTextContents();
});

// Uses the console of a company with many partners and messages, and prints what was seen, as JSON, for test_console.py.
// Arguments: the console's URL, a folder for screenshots, and the key, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { key, oldest } = JSON.parse(given);
const CLICKS = 5;

await visiting(url, folder, async ({ page, seen, main, signIn, open, press, says, fill }) => {
  await signIn("Company", key);
  await says("Last messages");

  // A page of messages takes few calls and few elements, however many there are.
  seen.requests.length = 0;
  await open("#/messages");
  await says("The last 50 of 1,000 or more messages");
  seen.calls = seen.requests.filter((asked) => asked.includes("/api/")).length;
  seen.elements = await page.evaluate(() => document.querySelectorAll("*").length);
  for (let click = 1; click <= CLICKS; click++) {
    await press("Show more");
    await says(`The last ${50 * (click + 1)} of`);
  }
  seen.rows = await main.locator("tbody tr").count();
  const whens = await main.locator("tbody tr time").evaluateAll((all) => all.map((one) => one.dateTime));
  seen.inOrder = whens.every((when, place) => !place || whens[place - 1] >= when);

  // What was loaded stays when the page looks again.
  await press("Refresh");
  seen.afterwards = await main.locator("tbody tr").count();

  // The oldest are found by a filter, at once.
  await fill("Before", oldest);
  await page.waitForFunction((oldest) => {
    const whens = [...document.querySelectorAll("tbody time")].map((one) => one.dateTime);
    return whens.length > 0 && whens.every((when) => when < oldest);
  }, oldest);

  // Partners that are not among the newest are found, and named where a message names them.
  await open("#/partners");
  await says("The last 50 of 300 partners");
  await fill("Search by", "(7)");
  await says("1 partner");
  await open("#/offer");
  await main.getByLabel("Find a partner").fill("(7)");
  await page.keyboard.press("Enter");
  await main.getByLabel("Partner", { exact: true }).locator("option", { hasText: "(7)" }).waitFor({ state: "attached" });
  seen.titleAfterEnter = await main.locator("h1").textContent();
});

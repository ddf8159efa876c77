// Decides what waits, holds a credential and shows it, and prints what was seen, as JSON, for test_console.py to judge.
// Arguments: the console's URL, a folder for screenshots, and what there is, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { key, bolt } = JSON.parse(given);

await visiting(url, folder, async ({ page, seen, look, main, signIn, open, press, follow, says, fill, shows }) => {
  await signIn("Company", key);

  // What waits.
  await open("#/waiting");
  await says("wants to connect with you");
  await says("offers you a credential");
  await says("gold");
  await look("waiting", true);
  const asking = main.locator("section", { hasText: "wants to connect with you" });
  await press("Accept", asking);
  await asking.waitFor({ state: "detached" });
  await press("Accept");
  await says("Nothing waits for you.");
  await open("#/credentials?role=holder");
  for (let turn = 0; turn < 300 && !(await main.getByRole("link", { name: "Membership" }).count()); turn++) {
    await open("#/credentials");
    await open("#/credentials?role=holder");
    await page.waitForTimeout(100);
  }
  await look("credentials");
  await follow("Membership");
  await says("The signature is the issuer's");
  await press("Check again");
  await look("credential", true);

  // A proof: Bolt asks, Acme shows.
  await page.request.post(`${url.replace("/console", "")}/proof-request`, {
    headers: { "tnt-subscription-key": bolt.key },
    data: { to: bolt.to, format: "dif", data: bolt.question },
  });
  await open("#/waiting");
  for (let turn = 0; turn < 300 && !(await main.getByRole("button", { name: "Show these" }).count()); turn++) {
    await press("Refresh");
    await page.waitForTimeout(100);
  }
  await says("asks you for proof");
  await says("Asked for: level");
  await look("candidates");
  await press("Show these");
  await says("Nothing waits for you.");

  // An offer that is not wanted.
  await page.request.post(`${url.replace("/console", "")}/credential`, { headers: { "tnt-subscription-key": bolt.key }, data: bolt.offer });
  for (let turn = 0; turn < 300 && !(await main.getByText("Reject").count()); turn++) {
    await press("Refresh");
    await page.waitForTimeout(100);
  }
  await main.getByText("Reject", { exact: true }).first().click();
  await fill("Reason, for the partner", "Not needed");
  await press("Reject");
  await says("Nothing waits for you.");

  seen.hacked = await page.evaluate(() => "hacked" in window);
});

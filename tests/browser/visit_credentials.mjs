// Decides what waits, holds and issues credentials, and asks for proof, and prints what was seen, as JSON, for test_console.py to judge.
// Arguments: the console's URL, a folder for screenshots, and what there is, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { key, partner, bolt, terms } = JSON.parse(given);

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

  // Offers and questions of one's own.
  await open("#/offer");
  await look("offer");
  await main.getByLabel("Partner", { exact: true }).selectOption(partner);
  await fill("Kind of credential", "Membership");
  await fill("Name 1", "level");
  await fill("Value 1", "silver");
  await press("One more");
  await main.getByLabel("Name 3").waitFor();
  await press("Offer");
  await shows("Exchange");
  await says("the credential was issued");
  await look("exchange");
  await follow("Credential");
  await says("silver");
  // With terms of one's own.
  await open("#/contexts");
  await fill("URL", terms.url);
  await fill("Document", terms.document);
  await press("Add");
  await says(terms.url);
  await open(`#/offer?to=${partner}`);
  await main.getByLabel("Template").selectOption({ label: `Terms of your context ${terms.url} (W3C)` });
  await fill("Kind of credential", "Membership");
  await fill("Name 1", "rank");
  await fill("Value 1", "captain");
  await press("Offer");
  await shows("Exchange");
  await says("the credential was issued");
  await follow("Credential");
  await says("captain");
  await open("#/contexts");
  await press("Delete");
  await says("There is none yet.");

  await open("#/ask");
  await main.getByLabel("Partner", { exact: true }).selectOption(partner);
  await fill("Kind of credential", "Membership");
  await fill("Name 1", "level");
  await look("ask");
  await press("Ask");
  await says("the proof was shown");
  await follow("Proof");
  await says("It was made for this request");
  await press("Check again");
  await look("proof");
  await open("#/proofs");
  await look("proofs");
  await open("#/exchanges");
  await look("exchanges");
  await open("#/credentials?role=issuer");
  await follow("Membership");
  await says("captain");
  await press("Delete");
  await shows("Credentials");

  seen.hacked = await page.evaluate(() => "hacked" in window);
});

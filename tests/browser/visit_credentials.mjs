// Offers credentials and asks for proof, and prints what was seen, as JSON, for test_console.py to judge.
// Arguments: the console's URL, a folder for screenshots, and what there is, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { key, partner, terms } = JSON.parse(given);

await visiting(url, folder, async ({ page, seen, look, main, signIn, open, press, follow, says, fill, shows }) => {
  await signIn("Company", key);

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

  // What can be revoked is asked whether it is.
  const definition = { uuid: "01a22810-a197-709b-8fbb-08658d41f169", tag: "supplier", attributes: ["level"], credentialDefinitionId: "did:web:acme.example/definition", supportRevocation: true };
  await page.route("**/api/credential-definition*", (route) => route.fulfill({ json: { hits: [definition], total: { value: 1, relation: "eq" }, next: null } }));
  await open(`#/ask?to=${partner}`);
  await main.getByLabel("Template").selectOption({ label: "AnonCreds: supplier (level)" });
  await main.getByLabel("level").check();
  await page.route("**/api/proof-request", (route) => route.abort());
  const asked = page.waitForRequest("**/api/proof-request");
  await press("Ask");
  seen.asked = (await asked).postDataJSON().data;
  await page.unroute("**/api/proof-request");
  await page.unroute("**/api/credential-definition*");
  await open("#/proofs");

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

// Uses the console as a company's admin does, and with a key that may only read, and prints what was seen, as JSON, for test_console.py.
// Arguments: the console's URL, a folder for screenshots, and what there is, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { key, reading } = JSON.parse(given);

await visiting(url, folder, async ({ page, seen, look, main, signIn, open, press, says, fill }) => {
  await signIn("Company", key);

  // The account.
  await open("#/identities");
  await fill("Name", "Acme, quality", main.locator("section", { hasText: "Make an identity" }));
  await main.getByLabel("Method").selectOption("did:key");
  await press("Make");
  await main.getByRole("heading", { name: "Acme, quality" }).waitFor();
  const quality = main.locator("section", { has: page.getByRole("heading", { name: "Acme, quality" }) });
  await quality.getByText("Rename", { exact: true }).first().click();
  await fill("Name", "Acme, tests", quality);
  await press("Rename", quality);
  await main.getByRole("heading", { name: "Acme, tests" }).waitFor();
  const tests = main.locator("section", { has: page.getByRole("heading", { name: "Acme, tests" }) });
  await tests.getByText("Use a DID whose keys you hold").click();
  await fill("DID", "did:web:127.0.0.1%3A1", tests);
  await press("Bind", tests);
  await says("Code", tests);
  await look("identities");
  await open("#/schemas");
  await main.getByText("Publish a schema", { exact: true }).click();
  await fill("Name", "id");
  await fill("Attributes", "name, age");
  await press("Publish");
  await says("name, age");
  await main.getByText("Publish a definition").click();
  // Its keys take seconds of computing, and many where others compute too; the service then says that it took too long.
  const defined = main.getByRole("cell", { name: "default" });
  while (!(await defined.count())) {
    await press("Publish the definition");
    await defined.or(main.getByRole("alert")).first().waitFor({ timeout: 400_000 });
  }
  await look("schemas");
  await open("#/contexts");
  await fill("URL", "https://acme.example/terms/v1");
  await fill("Document", '{"@context": {"Membership": "https://acme.example/terms#Membership"}}');
  await press("Add");
  await press("Delete");
  await says("There is none yet.");
  await look("contexts");
  await open("#/settings");
  await main.getByLabel("An offer is accepted without asking.").selectOption("yes");
  await fill("Messages are erased", "365");
  await look("settings");
  await press("Save");
  await says("The settings are saved.");
  await open("#/keys");
  await press("New key");
  await page.keyboard.type("warehouse");
  await main.getByLabel("Scope").selectOption("send");
  seen.expires = await main.getByLabel("Expires").inputValue();
  await press("Make the key");
  await says("It is shown only now.");
  await look("keys");
  const warehouse = main.locator("tr", { hasText: "warehouse" });
  await press("Revoke", warehouse);
  await says("revoked", warehouse);
  await open("#/audit");
  await says("api-token.revoked");
  await look("audit");
  await open("#/usage");
  await look("usage");

  // A key that may only read.
  await signIn("Company", reading);
  await says("Sign in with an admin key to see your webhooks.");
  await open("#/keys");
  await says("scope-too-low");
  await says("Trace");
});

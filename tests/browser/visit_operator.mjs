// Uses the console as an operator does, and prints what was seen, as JSON, for test_console.py.
// Arguments: the console's URL, a folder for screenshots, and what there is, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { operator } = JSON.parse(given);

await visiting(url, folder, async ({ page, seen, look, main, signIn, open, press, follow, says, fill, shows }) => {
  // The operator. A key that is kept in the tab survives a reload.
  await signIn("Operator", operator, true);
  await page.reload();
  await says("healthy");
  await says("inbound");
  await page.route("**/api/health", (route) => route.fulfill({ status: 503, json: { status: "degraded", storage: { tables: true, queues: false, blobs: true }, version: "1", commit: "" } }));
  await open("#/tenants");
  await open("#/");
  await says("Out of reach: queues.");
  await page.unroute("**/api/health");
  await open("#/tenants");
  await open("#/");
  await press("Wrap the data keys anew");
  await says("were so already");
  await look("service", true);
  await open("#/tenants");
  await press("New tenant");
  await page.keyboard.type("Cobb");
  await press("Register");
  await says("The first key of Cobb.");
  await fill("Name contains", "Cobb");
  await page.keyboard.press("Enter");
  await look("tenants", true);
  await follow("Cobb");
  await fill("Reason", "unpaid");
  await press("Suspend");
  await says("suspended");
  await press("Resume");
  await main.getByRole("button", { name: "Suspend" }).waitFor();
  await fill("Messages a minute", "600");
  await press("Save");
  await says("messagesPerMinute");
  await says("Nothing was done yet.");
  await press("Count anew");
  await look("tenant");
  await fill("Type the tenant's name", "Cob");
  await press("Delete for ever");
  await says("You typed another name.");
  await fill("Type the tenant's name", "Cobb");
  await press("Delete for ever");
  await shows("Tenants");
  await open("#/poison");
  await look("poison");
  await press("Handle all again");
  await says("cannot be read by their queue");
  await press("Discard", main.locator("tr", { hasText: "relay" }));
  await open("#/operators");
  await press("New operator");
  await page.keyboard.type("Rex Reader");
  await press("Make the key");
  await says("The key of Rex Reader.");
  const rex = main.locator("tr", { hasText: "Rex Reader" }).last();
  await press("New key", rex);
  await page.waitForTimeout(200);
  await press("Revoke", rex);
  await says("revoked", rex);
  await look("operators");
  await open("#/audit");
  await says("operator.revoked");
  await look("operator-audit");
  await page.getByRole("button", { name: "Sign out" }).click();

  // Nobody at the screen.
  await page.clock.install();
  await signIn("Operator", operator, true);
  await says("healthy");
  await page.clock.fastForward("16:00");
  await says("You were signed out after 15 minutes without activity.");
  seen.kept = await page.evaluate(() => ({ ...sessionStorage }));
});

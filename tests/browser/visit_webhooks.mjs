// Mends a webhook and what it missed, and prints what was seen, as JSON, for test_console.py to judge.
// Arguments: the console's URL, a folder for screenshots, and what there is, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { key, receiver } = JSON.parse(given);

await visiting(url, folder, async ({ page, seen, look, main, signIn, open, press, follow, says, fill, shows }) => {
  await signIn("Company", key);

  // Webhooks and deliveries.
  await open("#/webhooks");
  await press("Enable");
  await press("Test");
  await says("The test was");
  await press("New secret");
  await says("whsec_");
  await main.getByText("Add a webhook for messages").click();
  await fill("Name", "second");
  await fill("URL", receiver);
  await fill("Only types that match", "nothing-like-it");
  await press("Add");
  await main.getByRole("heading", { name: "second" }).waitFor();
  const second = main.locator("section", { has: page.getByRole("heading", { name: "second" }) });
  await says("It is shown only now.", second);
  await second.getByText("A receiver to try it with").click();
  await second.getByText("Change", { exact: true }).click();
  await look("webhooks", true);
  await press("Remove", second);
  await second.waitFor({ state: "detached" });
  await open("#/deliveries");
  await main.getByLabel("Live").check();
  await look("deliveries");
  await fill("Everything that failed", "2026-01-01T00:00");
  await press("Send again");
  await says("sent again,");
  await open("#/deliveries?kind=webhook");
  await follow("Webhook call");
  await says("What happened");
  await says("Attempt 1");
  await says("webhook-signature: ***");
  await look("delivery", true);
  await press("Send again");
  await main.getByText("Send it to another webhook").click();
  await main.getByLabel("Webhook").selectOption("erp");
  await press("Send there");
  await says("the other side has it");
  await open("#/partners");
  await follow("<script>");
  await press("Erase it all");
  await shows("Partners");

  seen.hacked = await page.evaluate(() => "hacked" in window);
});

// Invites and accepts partners, and writes to them, and prints what was seen, as JSON, for test_console.py to judge.
// Arguments: the console's URL, a folder for screenshots, and what there is, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { key, partner, invitation, other } = JSON.parse(given);

await visiting(url, folder, async ({ page, seen, look, main, signIn, open, press, follow, says, fill, shows }) => {
  await signIn("Company", key);

  // Partners.
  await open("#/partners");
  await says("<script>");
  await look("partners");
  await fill("Search by", "bolt");
  await says("1 partner");
  await fill("Search by", "nobody is called so");
  await says("No partner fits.");
  await follow("Show all");
  await main.getByLabel("Status").selectOption("REQUESTED");
  await open("#/invite");
  await look("invite");
  await fill("Label", "Acme, orders");
  await fill("Goal", "Orders");
  await fill("Expires", "2099-01-31T12:00");
  await main.getByLabel("Anybody may use it").check();
  await press("Make the invitation");
  await main.getByAltText("QR code of the invitation's link").waitFor();
  await says("Acme, orders would like to connect with you (Orders)");
  await says("Nobody has used it yet.");
  await look("invitation");
  await press(/^Copy$/);
  await says("Copied");
  seen.copied = await page.evaluate(() => navigator.clipboard.readText());
  seen.link = await main.locator("figure", { hasText: "Link" }).first().locator("pre").textContent();
  await press("Withdraw");
  await says("revoked");
  await open("#/invitations");
  await look("invitations");
  await open("#/accept");
  await look("accept");
  await fill("Link, JSON or DID", "{not json");
  await press("Connect");
  await says("Paste the whole invitation.");
  await fill("Link, JSON or DID", "nothing like a link");
  await press("Connect");
  await says("Code");
  await fill("Link, JSON or DID", invitation);
  await fill("What you call the partner", "Bolt, the second");
  await press("Connect");
  await shows("Bolt, the second");
  await main.getByText("Change what you call it").click();
  await fill("Your reference", "4711");
  await press("Save");
  await says("4711");
  const [file] = await Promise.all([page.waitForEvent("download"), press("Export as a file")]);
  seen.exported = file.suggestedFilename();
  await press("Hang up");
  await says("Ended.");
  await press("Delete this partner");
  await shows("Partners");
  await open("#/accept");
  await fill("Link, JSON or DID", other);
  await main.getByLabel("Look at it first").check();
  await press("Connect");
  await says("The partner invites you.");
  await says("Only look");
  await look("invited");
  await press("Reject");
  await says("rejected");
  // Whoever types is not disturbed by the screen, which loads itself anew meanwhile.
  await page.clock.install();
  await open(`#/partners/${partner}`);
  await says("Timeline");
  await main.getByText("Change what you call it").click();
  await fill("Name", "half a name");
  const loaded = page.waitForResponse((answer) => answer.url().endsWith(`/contact/${partner}`));
  await page.clock.fastForward("00:20");
  await (await loaded).finished();
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  seen.typed = await main.getByLabel("Name").inputValue();
  await main.getByText("Change what you call it").click();
  await look("partner");
  await press("Take a new DID");
  await fill("Message", "Hello from the console");
  await press("Send");
  await shows("Thread with Bolt");

  // Threads and messages.
  await says("Hello from the console");
  await press("Send");
  await says("The message is empty.");
  await fill("Text", "With a file");
  await main.getByLabel("Attachments").setInputFiles({ name: "order.txt", mimeType: "text/plain", buffer: Buffer.from("4711") });
  await press("Send");
  await says("With a file");
  await says("Attachment order.txt");
  await look("thread", true);
  await open("#/threads");
  await says("sent");
  await look("threads");
  await open("#/messages?direction=IN&until=2099-01-01");
  await says("window.hacked");
  await look("messages");
  await main.getByLabel("Partner").selectOption(partner);
  await says("window.hacked");
  await fill("Type", "nothing-like-it");
  await page.keyboard.press("Enter");
  await says("No message fits these filters.");
  await follow("Show all");
  await follow("Problem report");
  await says("Everything, as JSON");
  await follow("Open the thread");
  await shows("Thread with Bolt");
  await open("#/messages?direction=IN");
  await main.locator('a[title^="javascript:"]').click();
  const [saved] = await Promise.all([page.waitForEvent("download"), press("Save as a file")]);
  seen.saved = saved.suggestedFilename();
  await main.getByText("Content", { exact: true }).click();
  await look("message");
  await press("Erase");
  await shows("Messages");

  seen.hacked = await page.evaluate(() => "hacked" in window);
});

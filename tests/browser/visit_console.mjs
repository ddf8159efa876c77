// Uses the console as a person does, and prints what was seen, as JSON, for test_console.py to judge.
// Arguments: the console's URL, a folder for screenshots, and what there is, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { key, partner, receiver, bolt, invitation, other, terms } = JSON.parse(given);

await visiting(url, folder, async ({ page, seen, look, main, signIn, open, press, follow, says, fill, shows }) => {
  // Signing in.
  const opened = await page.goto(url);
  seen.headers = await opened.allHeaders();
  await page.getByLabel("Subscription key").waitFor();
  seen.firstView = await page.evaluate(() => performance.getEntries().reduce((sum, { transferSize = 0 }) => sum + transferSize, 0));
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
  await look("home", true);

  // Addresses that name nothing. A path goes into calls, so none gets there but what the console itself makes.
  for (const hash of ["#/%", "#/%E0%A4%A", "#/nowhere", "#/messages/..%2Fapi-token", `#/partners/${partner}/more`, "#/constructor"]) {
    await open(hash);
    await shows("There is no such screen");
  }
  await look("nowhere");
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
  await open(`#/partners/${partner}`);
  await says("Timeline");
  await look("partner");
  await press("Take a new DID");
  await fill("Message", "Hello from the console");
  await press("Send");
  await shows("Thread with Bolt");

  // Threads and messages.
  await says("Hello from the console");
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

  // What had the focus is gone: the title has it, and not the beginning of the page.
  await open("#/keys");
  await fill("Name", "for a moment");
  await press("Make the key");
  await main.locator("tr", { hasText: "for a moment" }).getByRole("button", { name: "Revoke" }).focus();
  await page.keyboard.press("Enter");
  await says("revoked");
  await page.waitForFunction(() => document.activeElement !== document.body);
  seen.focusAfterwards = await focused();

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
  await fill("Only what fits", "nothing-like-it");
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
  await fill("The id of its entry", "nowhere");
  await press("Send there");
  await says("Code");
  await open("#/partners");
  await follow("<script>");
  await press("Erase it all");
  await shows("Partners");
  await open("#/log");
  await says("Copy as curl");
  await look("log");
  await press("Show 50 more of");
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
  await says("Nothing has been asked yet.");

});

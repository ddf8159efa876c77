// Visits /api/docs as a developer does, and prints what was seen, as JSON, for test_docs.py to judge.
// Arguments: the page's URL, a subscription key, the body to send, a folder for screenshots.

import { join } from "node:path";
import { launch } from "../../devtools/browser/chromium.mjs";

const [, , url, key, body, folder] = process.argv;
const seen = { requests: [], complaints: [] };

const browser = await launch();
try {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("requestfailed", (request) => seen.complaints.push(`${request.url()}: ${request.failure().errorText}`));
  page.on("console", (said) => ["error", "warning"].includes(said.type()) && seen.complaints.push(said.text()));
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => console.error(`policy: ${event.violatedDirective}`));
  });

  const opened = await page.goto(url);
  seen.headers = await opened.allHeaders();
  await page.locator(".opblock").first().waitFor();
  // The viewer draws only what is near the window, so the page is read while it is scrolled.
  const [tags, drawn] = [new Set(), new Set()];
  for (let end = false; !end; ) {
    await page.waitForTimeout(100);
    for (const tag of await page.locator(".opblock-tag").evaluateAll((all) => all.map((one) => one.dataset.tag))) tags.add(tag);
    const summaries = await page.locator(".opblock-summary").evaluateAll((all) =>
      all.map((one) => {
        const text = (part) => one.querySelector(part).textContent.replaceAll("\u200b", "").trim();
        return `${text(".opblock-summary-method")} ${text(".opblock-summary-path")}`;
      }),
    );
    for (const summary of summaries) drawn.add(summary);
    end = await page.evaluate(() => {
      const before = scrollY;
      scrollBy(0, innerHeight / 2);
      return scrollY === before;
    });
  }
  seen.tags = [...tags];
  seen.operations = [...drawn];
  await page.evaluate(() => scrollTo(0, 0));
  await page.screenshot({ path: join(folder, "page.png") });

  await page.locator(".auth-wrapper .authorize").first().click();
  const asked = page.locator(".auth-container", { hasText: "tnt-subscription-key" });
  await asked.locator("input").fill(key);
  await asked.getByRole("button", { name: "Apply credentials" }).click();
  await page.screenshot({ path: join(folder, "authorize.png") });
  await page.locator(".auth-container").first().getByRole("button", { name: "Close" }).click();

  const operation = page.locator("#operations-action-createAction");
  await operation.locator(".opblock-summary-control").click();
  await operation.locator("textarea.body-param__text").fill(body);
  await operation.getByRole("button", { name: "Execute" }).click();
  const answered = operation.locator(".live-responses-table .response");
  await answered.waitFor();
  seen.status = (await answered.locator(".response-col_status").textContent()).trim();
  seen.answer = await answered.locator(".highlight-code code").first().textContent();
  await answered.scrollIntoViewIfNeeded();
  await page.screenshot({ path: join(folder, "answer.png") });

  const kept = () =>
    page.evaluate(async () => ({
      local: { ...localStorage },
      session: { ...sessionStorage },
      databases: await indexedDB.databases(),
      address: location.href,
    }));
  seen.kept = { ...(await kept()), cookies: await context.cookies() };
  await page.reload();
  await operation.getByRole("button", { name: "Execute" }).waitFor();
  seen.complaintsSoFar = seen.complaints.length;
  await operation.getByRole("button", { name: "Execute" }).click();
  await answered.waitFor();
  seen.statusAfterReload = (await answered.locator(".response-col_status").textContent()).trim();

  await page.setViewportSize({ width: 360, height: 740 });
  await page.goto("about:blank");
  await page.goto(url);
  await page.locator(".opblock").first().waitFor();
  await page.screenshot({ path: join(folder, "narrow.png") });
  seen.narrow = await page.evaluate(() => [document.scrollingElement.scrollWidth, innerWidth]);
  await operation.locator(".opblock-summary-control").click();
  await operation.getByRole("button", { name: "Execute" }).waitFor();
  seen.narrowOpened = await page.evaluate(() => [document.scrollingElement.scrollWidth, innerWidth]);
  await operation.scrollIntoViewIfNeeded();
  await page.screenshot({ path: join(folder, "narrow-opened.png") });
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));

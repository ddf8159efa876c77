// Uses the console as a person does, and prints what was seen, as JSON, for test_console.py to judge.
// Arguments: the console's URL, a folder for screenshots, and what there is, as JSON.

import { visiting } from "./console.mjs";

const [, , url, folder, given] = process.argv;
const { key, operator } = JSON.parse(given);

await visiting(url, folder, async ({ page, seen, look, main, signIn, open, press, says, fill, follow }) => {
  const opened = await page.goto(url);
  seen.headers = await opened.allHeaders();
  await look("sign-in");
  await page.getByLabel("Subscription key").fill("tnt_wrong");
  await press("Sign in");
  seen.refused = await page.getByRole("alert").textContent();
  await signIn("Company", key);
  await says("Nothing waits for you.");
  await look("home", true);
});

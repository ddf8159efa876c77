"use strict";

// The button shows only where scripts run and the browser can copy.
const button = document.getElementById("copy");
const link = document.getElementById("link");
if (button && link && navigator.clipboard) {
  const label = button.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(link.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}

/** Saves bytes or a text as a file. The browser is told nothing of its type, so that it opens nothing by itself. */
export function save(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/octet-stream" }));
  link.download = name.replace(/[^\w.-]+/g, "_").slice(-100);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1_000);
}

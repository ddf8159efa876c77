// A headless Chromium that comes out of a package of npm, whole: with the libraries and the font that a bare machine
// lacks. The package's own code unpacks into /tmp, under names that others may have taken; here it is its folder.

import { createReadStream, createWriteStream, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { fileURLToPath } from "node:url";
import { createBrotliDecompress } from "node:zlib";
import { chromium } from "playwright-core";
import tar from "tar-fs";

const MODULES = join(dirname(fileURLToPath(import.meta.url)), "node_modules");
const PACKED = join(MODULES, "@sparticuz", "chromium", "bin");
const UNPACKED = join(MODULES, ".chromium");

/** The folder with `chromium`, `lib` and `fonts` in it. */
async function unpacked() {
  if (existsSync(UNPACKED)) return UNPACKED;
  const folder = mkdtempSync(`${UNPACKED}-`);
  const put = (name, into) => pipeline(createReadStream(join(PACKED, name)), createBrotliDecompress(), into);
  await Promise.all([
    put("chromium.br", createWriteStream(join(folder, "chromium"), { mode: 0o755 })),
    put("al2023.tar.br", tar.extract(folder)),
    put("fonts.tar.br", tar.extract(folder)),
  ]);
  const fonts = `<dir>${UNPACKED}/fonts</dir><cachedir>${UNPACKED}/cache</cachedir>`;
  writeFileSync(join(folder, "fonts.conf"), `<fontconfig>${fonts}</fontconfig>`);
  try {
    renameSync(folder, UNPACKED);
  } catch (error) {
    if (!existsSync(UNPACKED)) throw error;
    // Somebody was faster.
    rmSync(folder, { recursive: true });
  }
  return UNPACKED;
}

/** A browser, as playwright has it. `CHROMIUM` names one that is installed, for machines that this one is not made for. */
export async function launch() {
  if (process.env.CHROMIUM) return chromium.launch({ executablePath: process.env.CHROMIUM });
  const folder = await unpacked();
  const env = { ...process.env, LD_LIBRARY_PATH: join(folder, "lib"), FONTCONFIG_FILE: join(folder, "fonts.conf") };
  return chromium.launch({ executablePath: join(folder, "chromium"), env });
}

// Copies what the page uses of its packages to priv/ui/vendor.
//
//   npm ci && node vendor.mjs            after a change of package.json

import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
export const folder = join(here, "../../priv/ui/vendor");

// A browser has no table of packages: it takes the file beside.
const beside = (text) => text.replaceAll('from"preact"', 'from"./preact.mjs"').replace(/\n\/\/# sourceMappingURL=.*\s*$/, "\n");

const sources = {
  "preact.mjs": ["preact/dist/preact.mjs", beside],
  "hooks.mjs": ["preact/hooks/dist/hooks.mjs", beside],
  "htm.mjs": ["htm/dist/htm.mjs", beside],
  // The module that the package has is three times as large: this one sets a global, `uPlot`.
  "uplot.js": ["uplot/dist/uPlot.iife.min.js", (text) => text],
  "uplot.css": ["uplot/dist/uPlot.min.css", (text) => text],
  "preact.LICENSE.txt": ["preact/LICENSE", (text) => text],
  "htm.LICENSE.txt": ["htm/LICENSE", (text) => text],
  "uplot.LICENSE.txt": ["uplot/LICENSE", (text) => text],
};

/** What belongs into the folder: text by the file's name. */
export function packaged() {
  const text = ([path, change]) => change(readFileSync(join(here, "node_modules", path), "utf8"));
  return new Map(Object.entries(sources).map(([name, source]) => [name, text(source)]));
}

/** What is there. */
export function vendored() {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  return new Map(names.map((name) => [name, readFileSync(join(folder, name), "utf8")]));
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of packaged()) writeFileSync(join(folder, name), text);
}

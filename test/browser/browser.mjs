// What the tests of the page have in common: nodes, a browser, and pages that tell what went wrong in them.
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const guest = (name) => join(root, "guests/build", `${name}.wasm`);

// For a machine that does something else as well.
export const patience = 60_000;

// The pictures in the documents are made on demand: two runs never make the same bytes.
const shown = join(root, "docs/ui");
const shots = process.env.PICTURES ? shown : join(root, "_build/browser");
const axe = readFileSync(join(root, "test/browser/node_modules/axe-core/axe.min.js"), "utf8");

/** A server of bin/support: what it has said that it is ready with, and its end, which comes with this process at the latest. */
async function startServer(name) {
  const child = spawn(join(root, "bin/support", name), { stdio: ["pipe", "pipe", "inherit"] });
  const { value } = await createInterface({ input: child.stdout })[Symbol.asyncIterator]().next();
  assert(value?.startsWith("ready "), `${name} has not started`);
  return { said: value.slice(6), stop: () => new Promise((done) => child.once("exit", done).stdin.end()) };
}

/** A node of its own: its address, codes for links, and its end. One with a name has a port mapper of its own. */
export async function startNode(env = {}) {
  const mapper = env.TOGETHER && await startServer("epmd");
  const child = spawn("mix", ["run", "--no-start", "test/browser/node.exs"], {
    cwd: root, env: { ...process.env, MIX_ENV: "test", ...(mapper && { ERL_EPMD_PORT: mapper.said }), ...env },
    stdio: ["pipe", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const said = async (word) => {
    for (;;) {
      const { value, done } = await lines.next();
      assert(!done, `the node ended before it said ${word}`);
      if (value.startsWith(`${word} `)) return value.slice(word.length + 1);
    }
  };
  const port = await said("listens");
  const sites = await said("sites");
  return {
    port,
    sites: `http://127.0.0.1:${sites}`,
    url: `http://127.0.0.1:${port}`,
    async code() {
      child.stdin.write("code\n");
      return said("code");
    },
    async stop() {
      await new Promise((done) => child.once("exit", done).stdin.end());
      await mapper?.stop();
    },
  };
}

/** A registry: its address, and its end. */
export async function startRegistry() {
  const { said: address, stop } = await startServer("registry");
  return { address, stop };
}

/** curl as a user runs it. */
export const curl = (...given) => execFileSync("curl", ["-sS", "--max-time", "60", ...given], { encoding: "utf8" });

/** Deploys a guest with curl. */
export function deploy(node, wasm, fields = {}, ...more) {
  const form = Object.entries(fields).flatMap(([name, text]) => ["-F", `${name}=${text}`]);
  const answer = JSON.parse(curl("-F", `wasm=@${guest(wasm)}`, ...form, ...more, `${node.url}/deploy`));
  assert.equal(answer.error, undefined);
  return answer;
}

export const startBrowser = (more = []) => chromium.launch({
  executablePath: execFileSync("sh", ["-c", "command -v chromium"], { encoding: "utf8" }).trim(),
  args: [...(process.getuid() === 0 ? ["--no-sandbox"] : []), ...more],
});

/** A page in a context of its own, with all that went wrong in it: errors, and requests to anywhere else than the node. */
export async function openPage(browser, node, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1000, height: 720 }, ...options });
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  const wrong = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && wrong.push(message.text()));
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("request", (request) => /^(data|blob):/.test(request.url()) || new URL(request.url()).origin === node.url || wrong.push(request.url()));
  return { page, context, wrong };
}

/** What axe finds wrong with the page as it is shown. */
export async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run());
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
}

/** Words that are on more than one line, of up to 40 characters: what is longer may be broken. */
export const broken = (page) => page.evaluate(() => {
  const found = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = texts.nextNode(); node; node = texts.nextNode()) {
    if (!node.parentElement.checkVisibility()) continue;
    for (const word of node.data.matchAll(/[\p{L}\p{N}_@]{2,40}/gu)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set(Array.from(range.getClientRects(), ({ top }) => Math.round(top))).size > 1) found.push(word[0]);
    }
  }
  return found;
});

/** Labels that are cut off. */
export const clipped = (page) => page.evaluate(() => Array.from(document.querySelectorAll("th, td, dt, dd, label, legend, button, nav a, .heat span, .use span"))
  .filter((of) => of.scrollWidth > of.clientWidth + 1 && of.clientWidth > 0 && getComputedStyle(of).display !== "inline")
  .map((of) => of.textContent));

/** A picture of the page, of which the documents have one, too. */
export async function shot(page, name, options = {}) {
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`), ...options });
  assert(existsSync(join(shown, `${name}.png`)), `docs/ui has no ${name}.png: test/browser/run --pictures makes it`);
}

/** Waits until a question has the answer; after `patience` it fails with the last one. */
export async function eventually(ask, expected) {
  const deadline = Date.now() + patience;
  for (;;) {
    const answer = await ask();
    if (answer === expected) return;
    if (Date.now() > deadline) assert.equal(answer, expected);
    await new Promise((done) => setTimeout(done, 50));
  }
}

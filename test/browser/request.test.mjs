// Requests for handlers of HTTP, from a function's page.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, test } from "node:test";
import { deploy, eventually, openPage, startBrowser, startNode, violations } from "./browser.mjs";

let node, browser;

before(async () => {
  [node, browser] = await Promise.all([startNode(), startBrowser()]);
  deploy(node, "rust/http", { name: "site" });
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

const body = '[aria-label="Body of the response"]';
const head = '[aria-label="Headers of the response"]';

/** The page of the handler. */
async function open(options) {
  const opened = await openPage(browser, node, options);
  await opened.page.goto(`${node.url}/ui/#/functions/site`);
  await opened.page.waitForSelector("#path");
  return opened;
}

async function ask(page, method, path, { headers = "", payload = "" } = {}) {
  await page.fill("#method", method);
  await page.fill("#path", path);
  await page.fill("#headers", headers);
  await page.fill('textarea[aria-label="Body"]', payload);
  await page.click('button:text-is("Send")');
}

const holds = (page, where, text) => eventually(() => page.locator(where).textContent().then((found) => found.includes(text)), true);

test("a handler is asked by method, path, headers and body, and its response is shown with status, headers and times", async () => {
  const { page, context, wrong } = await open();
  await ask(page, "GET", "/headers?a=%20b", { headers: "x-tide: low\n\nX-Tide:  high:1 " });
  await holds(page, body, ":path: /headers?a=%20b\n");
  await holds(page, body, "x-tide: low, high:1\n");
  assert(!(await page.locator(body).textContent()).includes("x-tidepool"));
  await holds(page, head, "content-type: text/plain");
  assert.match(await page.locator("[aria-live] p.good").textContent(), /^200 after [\d.]+ ms, \d+ B after [\d.]+ ms$/);

  await ask(page, "POST", "/echo", { headers: "content-type: text/tide", payload: "the tide comes in" });
  await eventually(() => page.locator(body).textContent(), "the tide comes in");
  await holds(page, head, "content-type: text/tide");

  // The line of curl does the same.
  const line = await page.locator('[aria-label="The request with curl"]').textContent();
  const said = execFileSync("sh", ["-c", line], { encoding: "utf8" });
  assert.match(said, /^HTTP\/1.1 200 OK\r\n/);
  assert(said.endsWith("\r\n\r\nthe tide comes in"), said);
  // So it does with brackets, and with a header without a value.
  const shell = async () => execFileSync("sh", ["-c", await page.locator('[aria-label="The request with curl"]').textContent()], { encoding: "utf8" });
  await ask(page, "GET", "/headers?a[0]=1", { headers: "x-none:" });
  for (const text of [":path: /headers?a[0]=1\n", "x-none: \n"]) {
    await holds(page, body, text);
    assert((await shell()).includes(text), text);
  }
  // A text is no form.
  await ask(page, "POST", "/echo", { payload: "low" });
  await holds(page, head, "content-type: text/plain;charset=UTF-8");
  assert.match(await shell(), /\ncontent-type: text\/plain;charset=UTF-8\r\n/i);
  assert.deepEqual(wrong, []);

  await ask(page, "DELETE", "/status/418");
  await page.waitForSelector("p.bad:has-text('418 after')");
  await holds(page, head, "x-method: DELETE");
  await ask(page, "GET", "/status/302");
  await page.waitForSelector("text=A redirection, after");
  await context.close();
});

for (const [scheme, size] of [["light", { width: 1000, height: 720 }], ["dark", { width: 360, height: 640 }]]) {
  test(`a request and its response are whole and accessible: ${scheme}, ${size.width} wide`, async () => {
    const { page, context } = await open({ colorScheme: scheme, viewport: size });
    await ask(page, "POST", `/echo?${"long".repeat(100)}`, { headers: `x: ${"long".repeat(100)}`, payload: "long".repeat(100) });
    await holds(page, body, "long");
    assert.deepEqual(await violations(page), []);
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert(overflow <= 0, `it is ${overflow} px too wide`);
    await context.close();
  });
}

test("what a handler responds is text, whatever it is, and sets nothing of the page's", async () => {
  const { page, context } = await open();
  await ask(page, "GET", "/hostile");
  await holds(page, body, "<!doctype html><title>idle</title>");
  await ask(page, "POST", "/echo", { payload: "<img src=nothing onerror=\"document.title='broken in'\">\u202e" });
  await holds(page, body, "\\u202e");
  assert.equal(await page.locator("main img, main script").count(), 0);
  assert.match(await page.title(), /^site/);
  assert.equal(await page.evaluate(() => document.cookie), "");
  await context.close();
});

test("a body is shown as it comes and can be stopped, and what fails is told from what is whole", async () => {
  const { page, context } = await open();
  await ask(page, "GET", "/silent");
  await eventually(() => page.locator(body).textContent(), "one");
  await page.waitForSelector("text=and more may come");
  await page.click('button:text-is("Stop")');
  await page.waitForSelector("text=and was stopped here");
  await ask(page, "GET", "/trap-after");
  await page.waitForSelector("p.bad:has-text('and broke off there')");
  await ask(page, "GET", "/trap-before");
  await page.waitForSelector("text=trap: unreachable");
  await context.close();
});

test("what no page can send, and what would go elsewhere, is refused and not sent", async () => {
  const { page, context } = await open();
  const sent = [];
  page.on("request", (request) => new URL(request.url()).pathname.startsWith("/call") && sent.push(request.url()));
  for (const [method, path, more, why] of [
    ["GET", "hello", {}, "begins with /"],
    ["POST", "/../../deploy", {}, "without .."],
    ["POST", "/%2e%2E/greeter", {}, "without .."],
    ["POST", "/..\\..\\deploy", {}, "without .."],
    ["POST", "/.\t./.\t./deploy", {}, "without .."],
    ["GET", "/a/../hello", {}, "without .."],
    ["GET", "/hello#there", {}, "without .."],
    ["GET", "", {}, "begins with /"],
    ["TRACE", "/hello", {}, "no page sends TRACE"],
    ["A B", "/hello", {}, "no page sends A B"],
    ["GET", "/hello", { payload: "tide" }, "no page sends a body with GET"],
    ["GET", "/hello", { headers: "host: elsewhere.example" }, "no page sends a header host"],
    ["GET", "/hello", { headers: "cookie: a=b" }, "no page sends a header cookie"],
    ["GET", "/hello", { headers: "tide" }, "NAME: VALUE"],
    ["GET", "/hello", { headers: "a b: c" }, "no header is named"],
    ["GET", "/hello", { headers: "x: \u{1f30a}" }, "no header is named"],
  ]) {
    await ask(page, method, path, more);
    await holds(page, '[role="alert"]', why);
    await page.click('button:text-is("Dismiss")');
  }
  assert.deepEqual(sent, []);
  await context.close();
});

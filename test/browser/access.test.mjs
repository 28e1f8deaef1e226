// The page on nodes with a token: who gets in, how, and who does not.
import assert from "node:assert/strict";
import { createServer } from "node:http";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { curl, deploy, openPage, startBrowser, startNode } from "./browser.mjs";

const token = "s3cret-token";
let node, other, browser;

before(async () => {
  const rules = "--host-resolver-rules=MAP evil.example 127.0.0.1";
  [node, other, browser] = await Promise.all([startNode({ TOKEN: token }), startNode({ TOKEN: token }), startBrowser([rules])]);
  deploy(node, "rust/hello_world", { name: "kept" }, "-H", `authorization: Bearer ${token}`);
});

after(async () => {
  await browser?.close();
  await Promise.all([node?.stop(), other?.stop()]);
});

async function signIn(page, { url }) {
  await page.goto(`${url}/ui/#/sign-in`);
  await page.fill("#token", token);
  await page.click('main button:text-is("Sign in")');
  await page.waitForSelector('button:text-is("Sign out")');
}

// What a script of a page gets for a change.
const remove = (page, headers) => page.evaluate(async ([headers]) => {
  const response = await fetch("../functions/kept_not", { method: "DELETE", headers });
  return response.status;
}, [headers]);

test("a link with a code signs in once, and leaves nothing in the address", async () => {
  const { page, context } = await openPage(browser, node);
  const link = `${node.url}/ui/#code=${await node.code()}`;
  await page.goto(link);
  await page.waitForSelector('button:text-is("Sign out")');
  assert.equal(page.url(), `${node.url}/ui/#/`);
  const [cookie, ...others] = await context.cookies();
  assert.deepEqual(others, []);
  assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], [`tidepool_${node.port}`, true, "Strict"]);
  await context.close();

  const late = await openPage(browser, node);
  await late.page.goto(link);
  await late.page.waitForSelector("text=That link was used");
  assert.deepEqual(await late.context.cookies(), []);
  await late.context.close();
});

test("the token signs in, another does not, and nothing of it is kept where scripts read", async () => {
  const { page, context } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/node`);
  await page.click('main a:text-is("sign in")');
  await page.fill("#token", "another");
  await page.click('main button:text-is("Sign in")');
  await page.waitForSelector("text=unauthorized");
  await signIn(page, node);
  await page.click('a:text-is("Node")');
  await page.waitForSelector("text=max_dense_memory");
  assert.equal(await page.evaluate(() => document.cookie + localStorage.length + sessionStorage.length), "00");
  await context.close();
});

test("a session is over when it is signed out, whoever still has its cookie", async () => {
  const { page, context } = await openPage(browser, node);
  await signIn(page, node);
  const cookies = await context.cookies();
  assert.equal(await remove(page, { "x-tidepool": "1" }), 404);
  await page.click('button:text-is("Sign out")');
  await page.waitForSelector('header a:text-is("Sign in")');
  await context.addCookies(cookies);
  assert.equal(await remove(page, { "x-tidepool": "1" }), 401);
  await context.close();
});

test("two nodes on one machine keep both sessions", async () => {
  const { page, context } = await openPage(browser, node);
  await signIn(page, node);
  await signIn(page, other);
  for (const { url } of [node, other]) {
    await page.goto(`${url}/ui/`);
    await page.waitForSelector('button:text-is("Sign out")');
  }
  await context.close();
});

test("a page of another origin changes nothing, though the browser is signed in", async () => {
  const { page, context } = await openPage(browser, node);
  await signIn(page, node);
  // Another port of the same host, to which the browser sends the cookie even though it is strict; and another site.
  const form = `<form method="post" action="${node.url}/processes/kept"><button>go</button></form>`;
  const server = createServer((_request, response) => response.setHeader("content-type", "text/html").end(form)).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  for (const [host, status] of [["127.0.0.1", 403], ["evil.example", 401]]) {
    await page.goto(`http://${host}:${port}/`);
    const [response] = await Promise.all([page.waitForNavigation(), page.click("button")]);
    assert.equal(response.status(), status, host);
    await page.goto(`http://${host}:${port}/`);
    const script = page.evaluate(async (url) => {
      await fetch(`${url}/functions/kept`, { method: "DELETE", headers: { "x-tidepool": "1" }, credentials: "include" });
    }, node.url);
    await assert.rejects(script, /Failed to fetch/, host);
  }
  server.close();
  assert.match(curl(`${node.url}/functions/kept`), /"name":"kept"/);
  await context.close();
});

test("a name that was made to mean this machine gets nothing of the node", async () => {
  const { page, context } = await openPage(browser, node);
  const response = await page.goto(`http://evil.example:${node.port}/ui/`);
  assert.equal(response.status(), 421);
  await context.close();
});

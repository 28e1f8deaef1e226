// The page on nodes with a token: who gets in, how, and who does not.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createServer } from "node:http";
import { once } from "node:events";
import { after, before, test } from "node:test";
import { broken, clipped, curl, deploy, eventually, openPage, shot, startBrowser, startNode, violations } from "./browser.mjs";

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

async function signIn(page, { url }, secret = token) {
  await page.goto(`${url}/ui/#/sign-in`);
  await page.fill("#token", secret);
  await page.click('main button:text-is("Sign in")');
  await page.waitForSelector('button:text-is("Sign out")');
}

// What a script of a page gets for a change, with a session's key.
const remove = (page, key) => page.evaluate(async ([key]) => {
  const response = await fetch("../functions/kept_not", { method: "DELETE", headers: { "x-tidepool": key } });
  return response.status;
}, [key]);

const keyOf = (page) => page.evaluate(() => localStorage.getItem("tidepool:/"));

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

test("a link with a token signs nobody in, and nobody out", async () => {
  const asked = ["-X", "POST", "-H", `authorization: Bearer ${token}`, "--data-binary", '{"name":"linked","scopes":["read"]}'];
  const { secret: made } = JSON.parse(curl(...asked, `${node.url}/tokens`));
  assert.match(made, /^tidepool_[\w-]{43}$/);
  const { page, context } = await openPage(browser, node);
  await signIn(page, node);
  const [cookies, key] = [await context.cookies(), await keyOf(page)];
  await page.goto("about:blank");
  await page.goto(`${node.url}/ui/#code=${made}`);
  await page.waitForSelector("text=That link was used");
  assert.equal(page.url().includes(made), false);
  assert.deepEqual([await context.cookies(), await keyOf(page)], [cookies, key]);
  await page.waitForSelector('header span:text-is("TIDEPOOL_TOKEN")');
  await context.close();
  curl("-X", "DELETE", "-H", `authorization: Bearer ${token}`, `${node.url}/tokens/linked`);
});

test("the token signs in, another does not, and nothing of it is kept where scripts read but half of a session", async () => {
  const { page, context } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/node`);
  await page.click('main a:text-is("sign in")');
  await page.fill("#token", "another");
  await page.click('main button:text-is("Sign in")');
  await page.waitForSelector("text=unauthorized");
  await signIn(page, node);
  await page.click('a:text-is("Node")');
  await page.waitForSelector("text=max_dense_memory");
  assert.equal(await page.evaluate(() => document.cookie + localStorage.length + sessionStorage.length), "10");
  assert.match(await keyOf(page), /^[\w-]{43}$/);
  await context.close();
});

test("a session is over when it is signed out, whoever still has its cookie", async () => {
  const { page, context } = await openPage(browser, node);
  await signIn(page, node);
  const [cookies, key] = [await context.cookies(), await keyOf(page)];
  assert.equal(await remove(page, key), 404);
  assert.equal(await remove(page, "1"), 403);
  await page.click('button:text-is("Sign out")');
  await page.waitForSelector('header a:text-is("Sign in")');
  assert.equal(await keyOf(page), null);
  await context.addCookies(cookies);
  assert.equal(await remove(page, key), 401);
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
  const seen = [];
  const server = createServer(({ headers }, response) => {
    seen.push(headers.cookie ?? "");
    response.setHeader("content-type", "text/html").end(form);
  }).listen(0, "127.0.0.1");
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
  // That server has the cookie, which a browser sends to every port, and can do nothing with it.
  const cookie = seen.find((each) => each.includes(`tidepool_${node.port}=`));
  assert(cookie);
  for (const method of ["GET", "DELETE"]) {
    const asked = ["-X", method, "-b", cookie, "-H", "x-tidepool: 1", "-H", "sec-fetch-site: same-origin"];
    assert.match(curl(...asked, `${node.url}/${method === "GET" ? "node" : "functions/kept"}`), /"cross_site"/);
  }
  assert.match(curl(`${node.url}/functions/kept`), /"name":"kept"/);
  await context.close();
});

test("a name that was made to mean this machine gets nothing of the node", async () => {
  const { page, context } = await openPage(browser, node);
  const response = await page.goto(`http://evil.example:${node.port}/ui/`);
  assert.equal(response.status(), 421);
  await context.close();
});

test("tokens are made, shown once, listed and revoked, with what they have made", async () => {
  const { page, context, wrong } = await openPage(browser, node);
  await signIn(page, node);
  await page.click('a:text-is("Tokens")');
  await page.waitForSelector("text=There is none beside the node's own");
  await page.fill("#token-name", "root");
  await page.check('input[name="admin"]');
  await page.click('button:text-is("Make")');
  const secret = await page.textContent('section[aria-label="The new token"] pre');
  assert.match(secret, /^tidepool_[\w-]{43}$/);
  assert.deepEqual(await violations(page), []);
  await page.click('button:text-is("Done")');
  assert.equal((await page.content()).includes(secret), false);
  const made = curl("-X", "POST", "-H", `authorization: Bearer ${secret}`, "--data-binary", '{"name":"child","scopes":["read"]}', `${node.url}/tokens`);
  assert.match(made, /"made_by":"root"/);
  await page.waitForSelector('button[aria-label="Revoke child"]');
  await page.fill("#token-name", "root");
  await page.click('button:text-is("Make")');
  await page.waitForSelector("text=token_exists");
  await page.click('[role="alert"] button:text-is("Dismiss")');
  await shot(page, "tokens", { fullPage: true });
  assert.deepEqual(await violations(page), []);
  await page.setViewportSize({ width: 1280, height: 900 });
  assert.deepEqual([...(await broken(page)), ...(await clipped(page))], []);
  await page.check("text=Revoke with what a token has made");
  await page.click('button[aria-label="Revoke root"]');
  await page.waitForSelector("text=root, child revoked.");
  await page.waitForSelector("text=There is none beside the node's own");
  assert.match(curl("-H", `authorization: Bearer ${secret}`, `${node.url}/tokens`), /"unauthorized"/);
  // What was refused is told on the console, and is all that is.
  assert.deepEqual(wrong.filter((text) => !/409/.test(text)), []);
  await context.close();
});

test("where calls take a token the line of curl has it", async () => {
  const guarded = await startNode({ TOKEN: token, CALLS: "token" });
  try {
    deploy(guarded, "rust/hello_world", { name: "guarded", operation: "hello" }, "-H", `authorization: Bearer ${token}`);
    const { page, context } = await openPage(browser, guarded);
    await signIn(page, guarded);
    await page.goto(`${guarded.url}/ui/#/functions/guarded`);
    await page.fill('textarea[aria-label="Payload"]', "Ada");
    const line = await page.locator('[aria-label="The call with curl"]').textContent();
    assert.match(line, /Bearer \$TIDEPOOL_TOKEN/);
    assert.equal(execFileSync("bash", ["-c", line], { encoding: "utf8", env: { ...process.env, TIDEPOOL_TOKEN: token } }), "Hello, Ada!");
    await context.close();
  } finally {
    await guarded.stop();
  }
});

test("a token for some functions signs in, sees what it may, and is out when it is revoked", async () => {
  const bearer = ["-H", `authorization: Bearer ${token}`];
  const asked = JSON.stringify({ name: "shops", scopes: ["deploy"], functions: "shop-*" });
  const { secret } = JSON.parse(curl(...bearer, "--data-binary", asked, `${node.url}/tokens`));
  deploy(node, "rust/hello_world", { name: "shop-cart" }, ...bearer);
  const { page, context } = await openPage(browser, node);
  await signIn(page, node, secret);
  await page.waitForSelector('header >> text=shops');
  await page.goto(`${node.url}/ui/#/functions/shop-cart`);
  await page.waitForSelector("text=Take along or remove");
  await page.goto(`${node.url}/ui/#/functions/kept`);
  await page.waitForSelector("text=to download or remove it");
  for (const path of ["tokens", "node"]) {
    await page.goto(`${node.url}/ui/#/${path}`);
    await page.waitForSelector('main a:text-is("sign in")');
  }
  assert.deepEqual(await violations(page), []);
  curl("-X", "DELETE", ...bearer, `${node.url}/tokens/shops`);
  const key = await keyOf(page);
  await eventually(() => remove(page, key), 401);
  await context.close();
});

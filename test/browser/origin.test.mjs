// Pages of guests: on the node's own origin a browser keeps them apart from the node's, on that of sites they are their own.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { deploy, openPage, startBrowser, startNode } from "./browser.mjs";

const token = "s3cret-token";
let node, browser;

before(async () => {
  [node, browser] = await Promise.all([startNode({ TOKEN: token }), startBrowser()]);
  deploy(node, "rust/http", { name: "hostile", route: "/hostile" }, "-H", `authorization: Bearer ${token}`);
});

const names = async () => {
  const list = await fetch(`${node.url}/functions`, { headers: { authorization: `Bearer ${token}` } });
  return (await list.json()).functions.map(({ name }) => name);
};

const cookies = async (context) => (await context.cookies()).map(({ name, value }) => `${name}=${value}`);

after(async () => {
  await browser?.close();
  await node?.stop();
});

test("a hostile guest below /call/ reads no page, deploys nothing and sets no cookie, for a user who is signed in", async () => {
  const { page, context } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#code=${await node.code()}`);
  await page.waitForSelector('button:text-is("Sign out")');
  const [had, deployed] = [await cookies(context), await names()];
  await page.goto(`${node.url}/call/hostile/hostile`, { waitUntil: "networkidle" });
  // None of its scripts has run.
  assert.equal(await page.title(), "idle");
  assert.equal(await page.evaluate(() => globalThis.origin), "null");
  assert.deepEqual(await cookies(context), had);
  // What could run there all the same would find no way to stand between the page and the node.
  const registered = page.evaluate(() => navigator.serviceWorker.register("/call/hostile/hostile", { scope: "/" }));
  await assert.rejects(registered, /SecurityError|sandboxed/);
  assert.deepEqual(context.serviceWorkers(), []);
  const found = await page.evaluate(async () => {
    const outcome = async (what) => {
      try {
        return await what();
      } catch (error) {
        return error.name;
      }
    };
    const form = new FormData();
    form.append("name", "stolen");
    form.append("wasm", new Blob([new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])]), "a.wasm");
    const deploy = { method: "POST", body: form, mode: "no-cors", credentials: "include" };
    return {
      page: await outcome(async () => (await fetch("/ui/")).status),
      functions: await outcome(async () => (await fetch("/functions")).status),
      deploy: await outcome(async () => (await fetch("/deploy", deploy)).type),
      cookie: await outcome(() => (document.cookie = "stolen=1")),
    };
  });
  assert.deepEqual(found, { page: "TypeError", functions: "TypeError", deploy: "opaque", cookie: "SecurityError" });
  assert.deepEqual(await cookies(context), had);
  assert.deepEqual(await names(), deployed);
  // The session is as it was.
  await page.goto(`${node.url}/ui/#/`);
  await page.waitForSelector('button:text-is("Sign out")');
  await context.close();
});

test("the same page on the port of sites is of an origin of its own: its scripts run, and find nothing of the node", async () => {
  const { page, context } = await openPage(browser, node);
  await page.goto(`${node.sites}/hostile`);
  await page.waitForFunction(() => document.title.startsWith("found"));
  // Neither the page of the node nor what is deployed; the cookie and the storage are this origin's.
  assert.deepEqual(JSON.parse((await page.title()).slice("found ".length)).toSpliced(2, 1), [false, false, true, true]);
  assert(!(await page.content()).includes("Sign"));
  await context.close();
});

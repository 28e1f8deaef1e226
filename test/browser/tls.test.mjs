// The page on a node with TLS and a token: many tabs at once, over one connection.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { curl, guest, openPage, patience, startBrowser, startNode } from "./browser.mjs";

const token = "s3cret-token";
const folder = mkdtempSync(join(tmpdir(), "tidepool-tls-"));
const [cert, key] = ["cert.pem", "key.pem"].map((name) => join(folder, name));
let node, browser;

// curl as a user runs it who trusts the certificate.
const asked = (...given) => curl("--cacert", cert, "-H", `authorization: Bearer ${token}`, ...given);

before(async () => {
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  const made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", ...names, "-keyout", key, "-out", cert];
  execFileSync("openssl", made, { stdio: "ignore" });
  const settings = { TOKEN: token, TLS_CERT: cert, TLS_KEY: key };
  [node, browser] = await Promise.all([startNode(settings), startBrowser()]);
  node.url = `https://127.0.0.1:${node.port}`;
  const form = ["-F", `wasm=@${guest("rust/hello_world")}`, "-F", "name=talker", "-F", "operation=log"];
  assert.match(asked(...form, `${node.url}/deploy`), /"name":"talker"/);
});

after(async () => {
  await browser?.close();
  await node?.stop();
  rmSync(folder, { recursive: true });
});

test("ten tabs follow a stream each over one connection, and the node still answers them", async () => {
  const { page, context, wrong } = await openPage(browser, node, { ignoreHTTPSErrors: true });
  await page.goto(`${node.url}/ui/#code=${await node.code()}`);
  await page.waitForSelector('button:text-is("Sign out")');
  const [cookie] = await context.cookies();
  assert.deepEqual([cookie.secure, cookie.httpOnly, cookie.sameSite], [true, true, "Strict"]);
  const tabs = [page];
  while (tabs.length < 10) tabs.push(await context.newPage());
  for (const tab of tabs) {
    tab.on("pageerror", (error) => wrong.push(String(error)));
    await tab.goto(`${node.url}/ui/#/logs/talker`);
    await tab.waitForSelector('[role="status"]:text-is("live")');
  }
  // A browser opens six connections to a host by HTTP/1.1: the seventh tab would wait for ever.
  for (const tab of tabs) {
    assert.equal(await tab.evaluate(() => performance.getEntriesByType("navigation")[0].nextHopProtocol), "h2");
  }
  asked("--data-binary", "heard in each tab", `${node.url}/call/talker`);
  await Promise.all(tabs.map((tab) => tab.waitForSelector("text=heard in each tab", { timeout: patience })));
  // Each answers its user beside its stream.
  for (const tab of tabs) {
    await tab.click('a:text-is("Cluster")');
    await tab.waitForSelector("text=This node");
  }
  assert.deepEqual(wrong, []);
  await context.close();
});

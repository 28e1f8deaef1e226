// The page on a node that keeps actors as nodes keep them together.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { openPage, startBrowser, startNode, violations } from "./browser.mjs";

let node, browser;

before(async () => {
  [node, browser] = await Promise.all([startNode({ TOGETHER: "1" }), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

test("the page shows who keeps actors together and how far each is, and what is in the way of a change", async () => {
  const { page, context } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/cluster`);
  const member = page.locator("[aria-label='Members'] tbody tr").first();
  await member.locator("text=leads").waitFor();
  assert.match(await member.innerText(), /page_\d+@127\.0\.0\.1\s+leads\s+yes\s+0/);
  assert.deepEqual(await violations(page), []);
  const change = page.locator("button:has-text('Change members')");
  assert(await change.isDisabled());
  const own = (await member.innerText()).split(/\s+/)[0];
  await page.selectOption("#how", "remove");
  await page.fill("#member", own);
  await change.click();
  await page.waitForSelector("text=members_unchanged");
  await context.close();
});

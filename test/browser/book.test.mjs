// The book at /docs/: that it works under the policy that it is served with.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { openPage, root, startBrowser, startNode } from "./browser.mjs";

let node, browser;

before(async () => {
  [node, browser] = await Promise.all([startNode(), startBrowser()]);
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

// Of those that are made from modules one, as they are alike. The contents alone are a frame for browsers without scripts.
const chapters = readdirSync(join(root, "priv/book"), { recursive: true })
  .filter((file) => file.endsWith(".html") && file !== "toc.html" && (file === "api/Tidepool.html" || !file.startsWith("api/")));

test("every chapter is shown with its contents, without an error, and asks nobody else", async () => {
  assert(chapters.length > 40);
  const { page, context, wrong } = await openPage(browser, node, { viewport: { width: 1200, height: 720 } });
  for (const chapter of chapters) {
    await page.goto(`${node.url}/docs/${chapter}`);
    await page.waitForSelector('#mdbook-sidebar a:text-is("Recipes")');
    assert.deepEqual(wrong, [], chapter);
  }
  await context.close();
});

test("the book is searched, by the browser alone", async () => {
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/docs/`);
  await page.keyboard.press("s");
  await page.locator("#mdbook-searchbar").pressSequentially("rollback");
  await page.click('#mdbook-searchresults a:has-text("Versions and rollback")');
  await page.waitForURL(/\/docs\/http\.html\?highlight=rollback#versions-and-rollback$/);
  assert((await page.locator("main mark").count()) > 3);
  await page.keyboard.press("/");
  await page.waitForSelector("#mdbook-searchbar:focus");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#mdbook-search-wrapper", { state: "hidden" });
  assert.deepEqual(wrong, []);
  await context.close();
});

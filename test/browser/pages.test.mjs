// The page on a node without a token: what is shown, and what can be done.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { broken, clipped, curl, deploy, eventually, guest, openPage, root, shot, startBrowser, startNode, startRegistry, violations } from "./browser.mjs";

let node, browser;

before(async () => {
  [node, browser] = await Promise.all([startNode({ FUNCTIONS: "120" }), startBrowser()]);
  deploy(node, "rust/hello_world", { name: "greeter", operation: "hello", description: "Says hello.", label: "team:docs" });
  deploy(node, "wat/trap_unreachable", { name: "broken" });
  deploy(node, "rust/ledger", { name: "ledger", actor: "true" });
  deploy(node, "lunatic/chat", { name: "chat", net: "tcp:listen:127.0.0.1:*" });
  for (const name of ["greeter", "many_0003", "many_0005"]) curl(`${node.url}/call/${name}?payload=[1-40]`, "-o", "/dev/null");
  curl("--data-binary", "a line for the picture", `${node.url}/call/greeter/log`);
  for (const name of ["greeter", "broken"]) curl(`${node.url}/call/${name}/fail`);
  curl("--data-binary", "5", `${node.url}/actors/ledger/alice/add`);
  curl("--data-binary", '{"args":["0"]}', `${node.url}/processes/chat`);
});

after(async () => {
  await browser?.close();
  await node?.stop();
});

// A page's address, what is to be seen on it when it is whole, and its name.
const pages = [
  ["#/functions", "text=of 124", "functions"],
  ["#/functions/greeter", "text=Use of limits", "function"],
  ["#/logs", "text=a line for the picture", "logs"],
  ["#/deploy", "label:has-text('wait_timeout')", "deploy"],
  ["#/actors", "text=commit", "actors"],
  ["#/actors/ledger", "a:has-text('alice')", "class"],
  ["#/actors/ledger/alice", "td:has-text('SHA-256')", "actor"],
  ["#/processes", "h1", "processes"],
  ["#/cluster", "text=Shares what is deployed", "cluster"],
  ["#/node", "text=max_dense_memory", "node"],
  ["#/tokens", "text=There is none beside the node's own", "tokens-open"],
  ["#/sign-in", "label:has-text('Token')", "sign-in"],
];

// As others are, or as one in access.test.mjs.
const unpictured = ["class", "tokens-open"];

for (const [scheme, size] of [["light", { width: 1000, height: 720 }], ["dark", { width: 360, height: 640 }]]) {
  test(`every page is whole and accessible, and asks nobody else: ${scheme}, ${size.width} wide`, async () => {
    curl("--data-binary", "Ada", `${node.url}/call/greeter`);
    const { page, context, wrong } = await openPage(browser, node, { colorScheme: scheme, viewport: size });
    await page.goto(`${node.url}/`);
    await page.waitForURL(`${node.url}/ui/`);
    for (const [hash, seen, name] of pages) {
      await page.goto(`${node.url}/ui/${hash}`);
      await page.waitForSelector(seen);
      assert.deepEqual(await violations(page), [], name);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert(overflow <= 0, `${name} is ${overflow} px too wide`);
      if (scheme === "light" && !unpictured.includes(name)) await shot(page, name);
    }
    assert.deepEqual(wrong, []);
    await context.close();
  });
}

// On a telephone words may be broken, where a table is.
for (const [width, height, what] of [[1280, 900, "no word is broken, no label is cut off, and dates are dates"], [390, 844, "dates are dates"]]) {
  test(`on a screen of ${width} pixels every page is as wide as that and accessible, ${what}`, async () => {
    const { page, context, wrong } = await openPage(browser, node, { viewport: { width, height } });
    for (const [hash, seen, name] of pages) {
      await page.goto(`${node.url}/ui/${hash}`);
      await page.waitForSelector(seen);
      if (width === 1280) {
        assert.deepEqual(await broken(page), [], name);
        assert.deepEqual(await clipped(page), [], name);
      }
      assert.deepEqual(await violations(page), [], name);
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert(overflow <= 0, `${name} is ${overflow} px too wide`);
      // Seconds or ms since 1970.
      assert.doesNotMatch(await page.locator("main").innerText(), /\b1[789]\d{8}(\d{3})?\b/, name);
      await page.screenshot({ path: join(root, `_build/browser/${name}-${width}.png`), fullPage: true });
    }
    assert.deepEqual(wrong, []);
    await context.close();
  });
}

const cell = (page, name, column) => page.locator(`tr:has(a:text-is("${name}")) td`).nth(column);

test("100 calls by curl show as 100, and still do after a reload", async () => {
  deploy(node, "rust/hello_world", { name: "counted", operation: "hello" });
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/`);
  await page.fill("#filter", "counted");
  await eventually(() => cell(page, "counted", 2).textContent(), "0");
  curl(`${node.url}/call/counted?payload=[1-100]`, "-o", "/dev/null");
  await eventually(() => cell(page, "counted", 2).textContent(), "100");
  await page.reload();
  await page.fill("#filter", "counted");
  await eventually(() => cell(page, "counted", 2).textContent(), "100");
  // The page of the function, by its own history.
  await page.click('a:text-is("counted")');
  await page.waitForSelector(".heat rect");
  // Its axes: latencies, and times of the day.
  await page.waitForSelector(".heat-y span:has-text('s')");
  assert.match(await page.locator(".heat-x span").last().textContent(), /^\d\d:\d\d$/);
  await page.waitForSelector(".chart canvas");
  await page.check('label:has-text("6 hours") input');
  await page.waitForSelector('h2:text-is("Last six hours")');
  await page.waitForSelector(".chart canvas");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("many functions scroll, and those out of sight are not made", async () => {
  const { page, context } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/`);
  await page.waitForSelector('a:text-is("many_0001")');
  assert((await page.locator("tbody tr").count()) < 80);
  await page.focus(".rows");
  await page.keyboard.press("End");
  await page.waitForSelector('a:text-is("many_0120")');
  assert((await page.locator("tbody tr").count()) < 80);
  await page.fill("#filter", "many_00");
  await page.waitForSelector("text=99 of ");
  await page.click('th button:has-text("Name")');
  await page.waitForSelector('tbody tr:not(.space):first-child a:text-is("many_0099")');
  await context.close();
});

const call = async (page, payload) => {
  await page.fill('textarea[aria-label="Payload"]', payload);
  await page.click('button:text-is("Call")');
};

test("a function is called from its page, and what it replies is text, whatever it is", async () => {
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/functions/greeter`);
  await page.waitForSelector("#operation");
  const markup = "<img src=nothing onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>\u202e";
  await call(page, markup);
  await eventually(() => page.locator('[aria-label="Reply"]').textContent(), `Hello, ${markup.replace("\u202e", "\\u202e")}!`);
  assert.equal(await page.locator("main img, main script").count(), 0);
  assert.match(await page.title(), /^greeter/);
  // The line of curl does the same.
  const line = await page.locator('[aria-label="The call with curl"]').textContent();
  assert.match(line, /^curl -sS --data-binary '<img/);
  await page.check('input[name="kind"] >> nth=1');
  await call(page, "41 64 6121");
  await eventually(() => page.locator('[aria-label="Reply"]').textContent(), "Hello, Ada!!");
  await call(page, "4");
  await page.waitForSelector("text=write pairs of hexadecimal digits");
  assert.deepEqual(wrong, []);
  await context.close();
});

/** What the line of curl that the page shows says when a shell runs it. */
async function shell(page, env = {}) {
  const line = await page.locator('[aria-label="The call with curl"]').textContent();
  return execFileSync("bash", ["-c", line], { encoding: "utf8", env: { ...process.env, ...env } });
}

const replied = (page, text) => eventually(() => page.locator('[aria-label="Reply"]').textContent(), text);

test("a component's exports are called by a form of their types, and the line of curl says the same", async () => {
  deploy(node, "component/tools", { name: "points" });
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/functions/points`);
  await page.selectOption("#operation", "move");
  await page.waitForSelector("text=move(from: point, along-x: option<s32>) -> point");
  await page.waitForSelector("text=Once the form is filled in: from.x wants a whole number.");
  await page.fill("#argument-0-x", "3");
  await page.fill("#argument-0-y", "-4");
  await page.check('fieldset:has(> legend:has-text("along-x")) input[type=checkbox]');
  await page.fill("#argument-1-some", "10");
  assert.deepEqual(await violations(page), []);
  await page.click('button:text-is("Call")');
  await replied(page, '{"x":13,"y":-4}');
  assert.equal(await shell(page), '{"x":13,"y":-4}');
  // By hand it begins as what was filled in.
  await page.check('label:has-text("JSON") input');
  await eventually(() => page.inputValue('textarea[aria-label="Arguments"]'), '{"from":{"x":3,"y":-4},"along-x":10}');
  // Another export has fields of its own, and a whole name where two have the same.
  await page.selectOption("#operation", "test:numbers/two@1.0.0#number");
  await page.waitForSelector("text=It takes none.");
  await page.click('button:text-is("Call")');
  await replied(page, "8");
  assert.equal(await shell(page), "8");
  await page.selectOption("#operation", "jump");
  await page.fill("#argument-0", "far");
  await page.click('button:text-is("Call")');
  await page.waitForSelector("text=far wants a whole number");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("lists, variants, options and bytes have fields, however deep", async () => {
  deploy(node, "component/values", { name: "values" });
  const { page, context, wrong } = await openPage(browser, node, { viewport: { width: 390, height: 844 } });
  await page.goto(`${node.url}/ui/#/functions/values`);
  const again = async (operation, fill, reply) => {
    await page.selectOption("#operation", operation);
    await page.click('button[aria-label="Add to all"]');
    await fill();
    await page.click('button:text-is("Call")');
    await replied(page, reply);
    assert.equal(await shell(page), reply);
    assert.deepEqual(await violations(page), [], operation);
  };
  await again("naturals", () => page.fill("#argument-0-0", "18446744073709551615"), "[18446744073709551615]");
  await again("floats", () => page.fill("#argument-0-0", "NaN"), '["NaN"]');
  await again("options", () => page.check("fieldset fieldset input[type=checkbox]"), '[{"some":null}]');
  await again("results", async () => {
    await page.selectOption("#argument-0-0", "error");
    await page.fill("#argument-0-0-of", "it's \"late\"");
  }, '[{"error":"it\'s \\"late\\""}]');
  await page.click('button[aria-label="Remove 0 of all"]');
  await page.click('button:text-is("Call")');
  await replied(page, "[]");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert(overflow <= 0, `it is ${overflow} px too wide`);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a plain module's exports are called by numbers, and a plug-in's by bytes", async () => {
  deploy(node, "rust/calc", { name: "sums" });
  deploy(node, "rust/vowels", { name: "vowels" });
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/functions/sums`);
  await page.selectOption("#operation", "mean");
  for (const [at, text] of ["1", "2", "4.5"].entries()) await page.fill(`#argument-${at}`, text);
  await page.click('button:text-is("Call")');
  await replied(page, "2.5");
  assert.equal(await shell(page), "2.5");
  await page.goto(`${node.url}/ui/#/functions/vowels`);
  await page.selectOption("#operation", "count_vowels");
  await page.fill('textarea[aria-label="Payload"]', "low tide");
  await page.click('button:text-is("Call")');
  await replied(page, '{"count":3,"total":3,"vowels":"aeiouAEIOU"}');
  assert.equal(await shell(page), '{"count":3,"total":3,"vowels":"aeiouAEIOU"}');
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a program of processes is started with its arguments, by the button and by the line of curl", async () => {
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/functions/chat`);
  await page.fill("#arguments", "0");
  await page.click('button:text-is("Start")');
  await eventually(() => page.locator('[aria-label="Reply"]').textContent().then((text) => JSON.parse(text).function), "chat");
  assert.equal(JSON.parse(await shell(page)).function, "chat");
  assert.deepEqual(await violations(page), []);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("what guests print is text, as it is printed, by function and by what it says, until it is paused", async () => {
  deploy(node, "rust/hello_world", { name: "talker" });
  const print = (text, name = "talker") => curl("--data-binary", text, `${node.url}/call/${name}/log`);
  const { page, context, wrong } = await openPage(browser, node);
  print("printed before");
  await page.goto(`${node.url}/ui/#/logs`);
  const lines = page.locator('[role="log"] > div');
  await page.waitForSelector("text=printed before");
  const markup = "<img src=nothing onerror=\"document.title='broken in'\"><script>document.title='broken in'</script>";
  print(markup);
  await eventually(() => lines.last().textContent().then((text) => text.endsWith(markup)), true);
  assert.equal(await page.locator("main img, main script").count(), 0);
  assert.match(await page.title(), /^Logs/);
  print("by another", "greeter");
  await page.waitForSelector("text=by another");
  await page.fill("#filter", "PRINTED");
  await eventually(() => lines.count(), 1);
  await page.fill("#filter", "");
  await page.selectOption("#of", "talker");
  await page.waitForURL(/#\/logs\/talker$/);
  await eventually(() => lines.count(), 2);
  // What comes while it is paused comes afterwards.
  await page.click('button:text-is("Pause")');
  await page.waitForSelector("text=paused");
  print("meanwhile");
  print("by another again", "greeter");
  await page.click('button:text-is("Go on")');
  await page.waitForSelector("text=meanwhile");
  assert.equal(await lines.count(), 3);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a function in a namespace has its pages, and what it prints is shown there", async () => {
  deploy(node, "rust/hello_world", { name: "shop/talker" });
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/functions/shop%2Ftalker`);
  await page.click('a:text-is("What it prints")');
  await page.waitForURL(/#\/logs\/shop%2Ftalker$/);
  await page.waitForSelector("text=live");
  curl("--data-binary", "said in the shop", `${node.url}/call/shop%2Ftalker/log`);
  await page.waitForSelector("text=said in the shop");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a flood says how much of it was dropped, and the page stays what it is", async () => {
  deploy(node, "wat/log_flood", { name: "flood", limits: '{"cpu_time":300}' });
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/logs/flood`);
  await page.waitForSelector("text=live");
  // The next line that the budget lets through says how many before it were not.
  await eventually(async () => {
    curl(`${node.url}/call/flood`);
    return (await page.locator("text=/^dropped: /").count()) > 0;
  }, true);
  assert((await page.locator('[role="log"] > div').count()) <= 1000);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a failure shows on the function's page with its backtrace, and a call from there with what it printed", async () => {
  deploy(node, "wat/trap_unreachable", { name: "failing" });
  deploy(node, "rust/hello_world", { name: "printing" });
  curl(`${node.url}/call/failing/some-operation`);
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/functions/failing`);
  await page.click('details.failure:has-text("some-operation") summary:has-text("trap: unreachable")');
  await eventually(() => page.locator('details.failure [aria-label="Backtrace"]').textContent().then((text) => text.includes("__guest_call")), true);
  assert.deepEqual(await violations(page), []);
  // One that happens while the page is looked at comes first.
  curl(`${node.url}/call/failing/another-one`);
  await page.waitForSelector('details.failure:nth-of-type(1):has-text("another-one")');
  // The same again is counted, and not one more.
  for (let times = 2; times <= 3; times++) curl(`${node.url}/call/failing/another-one`);
  await page.waitForSelector('details.failure:nth-of-type(1):has-text("3 times since")');
  assert.equal(await page.locator("details.failure").count(), 2);
  await page.goto(`${node.url}/ui/#/functions/printing`);
  await page.waitForSelector("#operation");
  await page.fill("#operation", "log");
  await call(page, "said by this call");
  await eventually(() => page.locator('[aria-label="Printed since the call"]').textContent().then((text) => text.includes("said by this call")), true);
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a trap of a call from the page shows its kind and its backtrace", async () => {
  const { page, context } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/functions/broken`);
  await page.waitForSelector("#operation");
  await call(page, "");
  await page.waitForSelector("text=trap: unreachable");
  await eventually(() => page.locator('[aria-live] [aria-label="Backtrace"]').textContent().then((text) => text.includes("__guest_call")), true);
  await context.close();
});

test("every option of the schema has a field, and a deploy with some of them is that", async () => {
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/deploy`);
  await page.setInputFiles("#module", guest("rust/hello_world"));
  const { form, query } = JSON.parse(curl(`${node.url}/deploy/options`));
  await page.waitForSelector(`[name="${query.at(-1).name}"]`);
  for (const option of [...form, ...query]) {
    const own = `#${form.includes(option) ? "form" : "query"}-${option.name}`;
    // What may be left out as a whole shows its members when it is not.
    if (option.optional) await page.check(`fieldset:has(> legend:text-is("${option.name}")) > .choices input`);
    const fields = option.kind === "members" ? option.members.map(({ name }) => `${own}-${name}`) : [own];
    for (const field of fields) await page.waitForSelector(field);
    if (option.optional) await page.uncheck(`fieldset:has(> legend:text-is("${option.name}")) > .choices input`);
  }
  await page.fill("#form-name", "by_page");
  await page.fill("#form-operation", "hello");
  await page.fill("#form-instances", "warm:3");
  await page.fill("#form-limits-time", "700");
  await page.fill("#form-label", "team:page\nbeta");
  await page.click('button:text-is("Deploy")');
  await page.waitForSelector("text=Deployed by_page, version 1.");
  const deployed = JSON.parse(curl(`${node.url}/functions/by_page`));
  assert.equal(deployed.instances, "warm:3");
  assert.equal(deployed.limits.time, 700);
  assert.deepEqual(deployed.labels, { team: "page", beta: "" });
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a deploy whose instances are not as it asks for says why", async () => {
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/deploy`);
  await page.setInputFiles("#module", guest("abis/once"));
  await page.waitForSelector("#form-instances");
  await page.fill("#form-name", "serves_once");
  await page.fill("#form-instances", "warm:2");
  await page.click('button:text-is("Deploy")');
  await page.waitForSelector("text=Deployed serves_once, version 1.");
  const told = await page.textContent("p:has-text('Each request has an instance of its own: ')");
  assert.match(told, /the second of two requests/);
  assert.equal(JSON.parse(curl(`${node.url}/functions/serves_once`)).instances, "fresh");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("a module of a registry is deployed by where it is", async () => {
  const registry = await startRegistry();
  try {
    execFileSync(join(root, "priv/cli/tidepool"), ["push", `oci://${registry.address}/team/referred:1`, guest("rust/hello_world")]);
    const { page, context, wrong } = await openPage(browser, node);
    await page.goto(`${node.url}/ui/#/deploy`);
    await page.fill("#form-ref", `oci://${registry.address}/team/referred:2`);
    await page.click('button:text-is("Deploy")');
    await page.waitForSelector("li:has-text('fetch: refused')");
    await page.waitForSelector("text=unknown_ref");
    // Which the browser itself tells, too.
    assert.equal(wrong.length, 1);
    await page.fill("#form-ref", `oci://${registry.address}/team/referred:1`);
    await page.click('button:text-is("Deploy")');
    await page.waitForSelector("text=Deployed referred, version 1.");
    await page.waitForSelector("li:has-text('fetch: done')");
    await page.goto(`${node.url}/ui/#/functions/referred`);
    await page.waitForSelector(`text=oci://${registry.address}/team/referred:1@sha256:`);
    await context.close();
  } finally {
    await registry.stop();
  }
});

test("a deploy that is refused says at which step, until that is dismissed", async () => {
  const { page, context } = await openPage(browser, node);
  // Whoever is quicker than the options waits for them.
  await page.route("**/deploy/options", (route) => setTimeout(() => route.continue(), 1_000));
  await page.goto(`${node.url}/ui/#/deploy`);
  const file = join(tmpdir(), `tidepool-ui-${process.pid}.wasm`);
  writeFileSync(file, "no module");
  await page.setInputFiles("#module", file);
  await page.click('button:text-is("Deploy")');
  await page.waitForSelector("text=not_wasm");
  await page.waitForSelector("li:has-text('compile: refused')");
  await page.click('button:text-is("Dismiss")');
  await eventually(() => page.locator("text=not_wasm").count(), 0);
  await context.close();
});

test("a bad deploy is rolled back by the button", async () => {
  deploy(node, "rust/hello_world", { name: "rolled", operation: "hello" });
  deploy(node, "wat/trap_unreachable", { name: "rolled" });
  const { page, context, wrong } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/#/functions/rolled`);
  await page.click('button[aria-label="Roll back to version 1"]');
  await page.waitForSelector('td:has-text("3 newest")');
  assert.equal(curl("--data-binary", "Ada", `${node.url}/call/rolled`), "Hello, Ada!");
  assert.deepEqual(wrong, []);
  await context.close();
});

test("with keys alone a function is found, opened and removed", async () => {
  deploy(node, "rust/upper", { name: "unwanted" });
  const { page, context } = await openPage(browser, node);
  await page.goto(`${node.url}/ui/`);
  await page.waitForSelector("#filter");
  const press = async (key, until) => {
    for (let pressed = 0; pressed < 60; pressed++) {
      await page.keyboard.press(key);
      if (await page.evaluate(until)) return;
    }
    assert.fail(`${key} does not lead to ${until}`);
  };
  await press("Tab", () => document.activeElement.id === "filter");
  await page.keyboard.type("unwanted");
  await page.waitForSelector("text=1 of ");
  await press("Tab", () => document.activeElement.textContent === "unwanted");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#typed");
  await press("Tab", () => document.activeElement.id === "typed");
  await page.keyboard.type("unwanted");
  await page.keyboard.press("Enter");
  await page.waitForURL(/#\/functions$/);
  assert.match(curl(`${node.url}/functions/unwanted`), /not_deployed/);
  await context.close();
});

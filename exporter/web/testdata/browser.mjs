// browser.mjs MODULES ADDRESSES: visits the pages with Chromium as a visitor does, and
// says what is wrong with them. MODULES is where playwright-core and axe-core are;
// ADDRESSES is a JSON object: of sites with no, one and a thousand servers, and of what
// ends and begins the last.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const [modules, json] = process.argv.slice(2);
const require = createRequire(modules + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const { none, one, many, stop, start, pictures } = JSON.parse(json);

let failed = 0;
const check = (right, what) => {
  if (!right) failed++;
  console.log((right ? "ok    " : "WRONG ") + what);
};
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: ["--no-sandbox"] });
const visit = async (options = {}) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  context.setDefaultTimeout(30000);
  const page = await context.newPage();
  page.on("pageerror", (e) => check(false, "script: " + e.message));
  page.on("console", (m) => m.type() === "error" && !/ERR_|404/.test(m.text()) && check(false, "console: " + m.text()));
  return page;
};
const rows = (page) => page.locator("#servers tbody tr").count();
const becomes = async (page, what, f, argument) => {
  let right = true;
  await page.waitForFunction(f, argument, { timeout: 30000 }).catch(() => (right = false));
  check(right, what);
};
const requests = () => document.querySelectorAll(".figure .value")[2].textContent;
const picture = async (page, name) => pictures && page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });

// Filter, order, pages, drill down, share, go back.
{
  const page = await visit();
  await page.goto(many + "/");
  check((await rows(page)) === 50, "50 of 1000 servers are shown");
  await page.getByRole("link", { name: "Next" }).click();
  await becomes(page, "the next 50 come", () => document.querySelector("#servers [role=status]").textContent.includes("51 to 100"));
  check(page.url().endsWith("/?page=2"), "the address says which page");
  await page.getByRole("link", { name: "requests", exact: true }).click();
  await becomes(page, "a column sorts", () => document.querySelector("[aria-sort]")?.textContent === "requests");
  await page.getByLabel("Filter").pressSequentially("s99");
  await becomes(page, "the filter leaves 10 servers as one types", () => document.querySelectorAll("#servers tbody tr").length === 10);
  check(page.url().includes("filter=s99") && page.url().includes("sort=requests"), "the address has filter and order");
  check(await page.evaluate(() => document.activeElement.id === "filter" && document.activeElement.value === "s99"), "who types goes on typing");
  const shared = await visit();
  await shared.goto(page.url());
  check((await rows(shared)) === 10 && (await shared.getByLabel("Filter").inputValue()) === "s99", "a shared link shows the same");
  await shared.context().close();
  await page.getByRole("link", { name: "last hour" }).click();
  await becomes(page, "the last hour is shown", () => document.querySelector(".windows [aria-current]").textContent === "last hour");
  const list = page.url();
  await page.locator("#servers tbody a").first().click();
  await page.waitForURL(/\/server\/s99/);
  check(page.url().includes("window=1h"), "the time stays chosen");
  await page.locator("#connections tbody a").first().click();
  await page.waitForURL(/\/connection\/[0-9a-f]{16}$/);
  check(await page.locator("svg.story").isVisible(), "a connection is drawn");
  check((await page.evaluate(() => getComputedStyle(document.querySelector("svg.story .open,svg.story .waste")).fill)) !== "rgb(0, 0, 0)", "and coloured");
  await page.goBack();
  await page.goBack();
  check(page.url() === list && (await rows(page)) === 10, "back is where one was");
  await page.context().close();
}

// Updates leave selection, focus, what is opened and the scroll position alone.
{
  const page = await visit();
  await page.goto(many + "/");
  await page.locator("summary").first().click();
  const link = page.locator("#servers tbody a").nth(30);
  await link.focus();
  await page.evaluate(() => {
    window.focused = document.activeElement;
    window.row = document.activeElement.closest("tr");
  });
  const before = await page.evaluate(requests), scrolled = await page.evaluate(() => scrollY);
  check(scrolled > 0, "the page is scrolled");
  await becomes(page, "figures are renewed", (before) => document.querySelectorAll(".figure .value")[2].textContent !== before, before);
  check(await page.evaluate(() => document.activeElement === window.focused && window.focused.isConnected && window.row.isConnected), "the focus stays");
  check((await page.evaluate(() => scrollY)) === scrolled, "nothing scrolls");
  check(await page.evaluate(() => document.querySelector("details").open), "what is opened stays open");
  await page.evaluate(() => {
    const range = document.createRange();
    range.selectNodeContents(document.querySelector(".headline"));
    getSelection().removeAllRanges();
    getSelection().addRange(range);
  });
  const selected = await page.evaluate(() => getSelection().toString());
  await becomes(page, "who selects is told that updates wait", () => !document.getElementById("waiting").hidden);
  await page.waitForTimeout(6000);
  check(selected.length > 20 && (await page.evaluate(() => getSelection().toString())) === selected, "the selection stays");
  await page.evaluate(() => getSelection().removeAllRanges());
  await becomes(page, "then they go on", (s) => !s.includes(document.querySelectorAll(".figure .value")[2].textContent), selected);
  await page.context().close();
}

// The process ends, and another begins.
{
  const page = await visit();
  await page.goto(many + "/");
  await fetch(stop);
  await becomes(page, "that nobody answers is told", () => /^No answer since .*\d/.test(document.getElementById("silence").textContent) && !document.getElementById("silence").hidden);
  await picture(page, "silent");
  await fetch(start);
  await becomes(page, "and that somebody does again", () => document.getElementById("silence").hidden);
  await page.context().close();
}

// The keyboard alone.
{
  const page = await visit();
  await page.goto(many + "/");
  const tabTo = async (f) => {
    for (let i = 0; i < 80; i++) {
      await page.keyboard.press("Tab");
      if (await page.evaluate(f)) return true;
    }
    return false;
  };
  await page.keyboard.press("Tab");
  check(await page.evaluate(() => document.activeElement.className === "skip" && document.activeElement.getBoundingClientRect().left >= 0), "the first stop skips to the figures");
  await page.keyboard.press("Enter");
  check(await page.evaluate(() => document.activeElement.id === "content"), "and does");
  check(await tabTo(() => document.activeElement.matches("summary")), "findings are reached");
  await page.keyboard.press("Enter");
  check(await page.evaluate(() => document.activeElement.parentElement.open), "and opened");
  check(await tabTo(() => document.activeElement.id === "filter"), "the filter is reached");
  await page.keyboard.type("s998");
  await becomes(page, "and filters", () => document.querySelectorAll("#servers tbody tr").length === 1);
  check(await tabTo(() => document.activeElement.matches("#servers thead a")), "columns are reached");
  check(await tabTo(() => document.activeElement.matches("#servers tbody a")), "servers are reached");
  check(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== "none"), "where one is is seen");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/server\//);
  check(await tabTo(() => document.activeElement.matches("#connections tbody a")), "connections are reached");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/connection\//);
  check(await tabTo(() => document.activeElement.matches(".picture")), "the drawing is reached");
  await page.context().close();
}

// Without scripts.
{
  const page = await visit({ javaScriptEnabled: false });
  await page.goto(many + "/?sort=server");
  await page.getByLabel("Filter").fill("s99");
  await page.getByLabel("Filter").press("Enter");
  await page.waitForURL(/filter=s99/);
  check((await rows(page)) === 10 && page.url().includes("sort=server"), "the filter works without scripts");
  await page.getByRole("link", { name: "failed", exact: true }).click();
  await page.waitForURL(/sort=failed/);
  await page.locator("summary").first().click();
  check(await page.locator("details .advice").first().isVisible(), "findings open without scripts");
  await page.context().close();
}

// Every page, light, dark and on a phone, for who sees and who hears it.
for (const [look, options] of Object.entries({
  light: {},
  dark: { colorScheme: "dark" },
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
})) {
  const page = await visit(options);
  for (const [name, address] of Object.entries({ none: none + "/", one: one + "/", many: many + "/", recent: many + "/?window=5m&filter=s9" })) {
    await page.goto(address);
    const paths = [[name, address]];
    const server = await page.evaluate(() => document.querySelector("#servers tbody a")?.getAttribute("href"));
    if (server && name !== "recent") {
      paths.push([name + " server", new URL(server, address).href]);
      await page.goto(paths[1][1]);
      const connection = await page.locator("#connections tbody a").first().getAttribute("href");
      paths.push([name + " connection", new URL(connection, address).href], [name + " missing", new URL("/server/none", address).href]);
    }
    for (const [which, path] of paths) {
      await page.goto(path);
      for (const e of await page.locator("summary").all()) await e.click();
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      check(wide <= 0, `${look}, ${which}: it fits the width (${wide})`);
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => axe.run());
      for (const v of violations) check(v.impact !== "serious" && v.impact !== "critical", `${look}, ${which}: ${v.impact}: ${v.help}: ${v.nodes[0].html.slice(0, 200)} ${v.nodes[0].failureSummary}`);
      if (!violations.length) check(true, `${look}, ${which}: accessible`);
      await picture(page, `${look} ${which}`);
    }
  }
  check((await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/)[0] < 128)) === (look === "dark"), `${look} is ${look}`);
  await page.context().close();
}
await browser.close();
process.exit(failed ? 1 : 0);

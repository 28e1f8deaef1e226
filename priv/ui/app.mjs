// The page: which part of it is shown, and who looks.
import { html, render, useEffect, useRef, useState } from "./base.mjs";
import { ask, get, keep } from "./api.mjs";
import { Notice, useAction } from "./parts.mjs";
import { Functions } from "./pages/functions.mjs";
import { Function } from "./pages/function.mjs";
import { Logs } from "./pages/logs.mjs";
import { Deploy } from "./pages/deploy.mjs";
import { Actors } from "./pages/actors.mjs";
import { Processes } from "./pages/processes.mjs";
import { Cluster } from "./pages/cluster.mjs";
import { Node } from "./pages/node.mjs";
import { Tokens } from "./pages/tokens.mjs";

// With what a token has to be for to change things there: a scope, for all functions (`*`), for some, or for the one that is shown.
const pages = [
  ["functions", "Functions", Functions, "deploy", "shown"],
  ["deploy", "Deploy", Deploy, "deploy", "some"],
  ["logs", "Logs", Logs, "read", "shown"],
  ["actors", "Actors", Actors, "deploy", "shown"],
  ["processes", "Processes", Processes, "deploy", "*"],
  ["cluster", "Cluster", Cluster, "admin", "*"],
  ["node", "Node", Node, "read", "*"],
  ["tokens", "Tokens", Tokens, "admin", "*"],
];

// Whether who has signed in, or need not, may do what takes the scope. The node looks at each request itself.
function permits(session, scope, of, shown = "") {
  if (!session?.token) return true;
  const { scopes, functions } = session.may ?? { scopes: [], functions: "" };
  if (!scopes.includes(scope) && !scopes.includes("admin")) return false;
  if (functions === "*" || of === "some") return true;
  if (of !== "shown" || !functions.endsWith("*")) return of === "shown" && shown === functions;
  // As the node has it: the star stands for no slash.
  const beginning = functions.slice(0, -1);
  return shown.startsWith(beginning) && !shown.slice(beginning.length).includes("/");
}

const segments = () => location.hash.replace(/^#\/?/, "").split("/").map(decodeSegment);

function decodeSegment(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

function useRoute() {
  const [route, set] = useState(segments);
  useEffect(() => {
    const changed = () => set(segments());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

function App() {
  const [name, ...rest] = useRoute();
  const [session, setSession] = useState(null);
  const main = useRef(null);
  const check = async () => setSession(await get("session").catch(() => null));
  useEffect(() => {
    enter().then(check);
    const unauthorized = () => check();
    addEventListener("tidepool-unauthorized", unauthorized);
    return () => removeEventListener("tidepool-unauthorized", unauthorized);
  }, []);
  const [current, title, List, scope, of] = pages.find(([known]) => known === name) ?? pages[0];
  const Page = current === "functions" && rest[0] ? Function : List;
  const signIn = name === "sign-in";
  useEffect(() => {
    document.title = `${signIn ? "Sign in" : rest[0] || title} – Tidepool`;
  });
  // Whoever reads the page aloud, or goes by keys, is where the new part begins.
  const shown = useRef(false);
  useEffect(() => {
    if (shown.current) {
      main.current.focus({ preventScroll: true });
      scrollTo(0, 0);
    }
    shown.current = true;
  }, [name, rest.join("/")]);
  const closed = !permits(session, scope, of, rest[0]);
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current.focus())}>Skip to content</a>
    <header class="top">
      <span class="brand">Tidepool</span>
      <nav aria-label="Pages">
        ${pages.map(([path, label]) => html`<a key=${path} href=${`#/${path}`} aria-current=${!signIn && path === current ? "page" : undefined}>${label}</a>`)}
      </nav>
      ${session?.token && !session.signed_in && html`<a href="#/sign-in">Sign in</a>`}
      ${session?.token && session.signed_in && html`<span class="faint">${session.may?.name}</span><${SignOut} done=${check} />`}
    </header>
    <main id="main" ref=${main} tabindex="-1">
      ${signIn
        ? html`<${SignIn} done=${check} />`
        : session && html`<${Page} key=${current + (rest[0] ?? "")} rest=${rest} closed=${closed} reads=${permits(session, "read", "shown", rest[0])}
          guarded=${session.calls === "token"} tokened=${Boolean(session.token)} />`}
    </main>`;
}

/**
 * Trades the code of a link, which is in no log: what is behind # is not sent. A token that was made here is no code, and longer than one:
 * whoever has one could send a link with it, and would have who follows that sign in as him.
 */
async function enter() {
  const code = /^#code=(.+)$/.exec(location.hash)?.[1];
  if (!code) return;
  history.replaceState(null, "", "#/");
  dispatchEvent(new HashChangeEvent("hashchange"));
  const traded = /^[\w-]{43}$/.test(code) ? signInWith(code) : Promise.reject();
  await traded.catch(() => (location.hash = "#/sign-in/late"));
}

async function signInWith(secret) {
  const { key } = await ask("POST", "session", { headers: { authorization: `Bearer ${secret}` } });
  keep(key ?? null);
}

function SignIn({ done }) {
  const [token, set] = useState("");
  const { busy, refusal, act, dismiss } = useAction(async () => {
    await signInWith(token.trim());
    set("");
    await done();
    location.hash = "#/";
  });
  return html`<h1>Sign in</h1>
    <${Notice} refusal=${refusal} dismiss=${dismiss} />
    ${location.hash.endsWith("late") && html`<p role="status">That link was used, or is over a minute old: start again, or sign in with the token.</p>`}
    <form class="field" onSubmit=${(event) => (event.preventDefault(), act())}>
      <label for="token">Token</label>
      <p>A token is traded for a session, which may what the token may. It ends after 12 hours, and when you do nothing for one. The page keeps no token.</p>
      <div class="bar"><input id="token" type="password" autocomplete="current-password" required value=${token} onInput=${(event) => set(event.target.value)} />
      <button class="main" disabled=${busy}>Sign in</button></div>
    </form>`;
}

function SignOut({ done }) {
  const { busy, act } = useAction(async () => {
    await ask("DELETE", "session").catch(() => {});
    keep(null);
    await done();
  });
  return html`<button disabled=${busy} onClick=${act}>Sign out</button>`;
}

render(html`<${App} />`, document.getElementById("app"));

// The page: which part of it is shown, and who looks.
import { html, render, useEffect, useRef, useState } from "./base.mjs";
import { ask, get } from "./api.mjs";
import { Notice, useAction } from "./parts.mjs";
import { Functions } from "./pages/functions.mjs";
import { Function } from "./pages/function.mjs";
import { Deploy } from "./pages/deploy.mjs";
import { Actors } from "./pages/actors.mjs";
import { Processes } from "./pages/processes.mjs";
import { Cluster } from "./pages/cluster.mjs";
import { Node } from "./pages/node.mjs";

const pages = [
  ["functions", "Functions", Functions],
  ["deploy", "Deploy", Deploy],
  ["actors", "Actors", Actors],
  ["processes", "Processes", Processes],
  ["cluster", "Cluster", Cluster],
  ["node", "Node", Node],
];

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
  const [current, title, List] = pages.find(([known]) => known === name) ?? pages[0];
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
  const closed = session?.token && !session.signed_in;
  return html`
    <a class="skip" href="#main" onClick=${(event) => (event.preventDefault(), main.current.focus())}>Skip to content</a>
    <header class="top">
      <span class="brand">Tidepool</span>
      <nav aria-label="Pages">
        ${pages.map(([path, label]) => html`<a key=${path} href=${`#/${path}`} aria-current=${!signIn && path === current ? "page" : undefined}>${label}</a>`)}
      </nav>
      ${closed && html`<a href="#/sign-in">Sign in</a>`}
      ${session?.token && session.signed_in && html`<${SignOut} done=${check} />`}
    </header>
    <main id="main" ref=${main} tabindex="-1">
      ${signIn
        ? html`<${SignIn} done=${check} />`
        : session && html`<${Page} key=${current + (rest[0] ?? "")} rest=${rest} closed=${closed} />`}
    </main>`;
}

/** Trades the code of a link, which is in no log: what is behind # is not sent. */
async function enter() {
  const code = /^#code=(.+)$/.exec(location.hash)?.[1];
  if (!code) return;
  history.replaceState(null, "", "#/");
  dispatchEvent(new HashChangeEvent("hashchange"));
  await signInWith(code).catch(() => (location.hash = "#/sign-in/late"));
}

const signInWith = (secret) => ask("POST", "session", { headers: { authorization: `Bearer ${secret}` } });

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
      <p>The node's token is traded for a session of 12 hours, which ends when it is not used for one. The page keeps neither.</p>
      <div class="bar"><input id="token" type="password" autocomplete="current-password" required value=${token} onInput=${(event) => set(event.target.value)} />
      <button class="main" disabled=${busy}>Sign in</button></div>
    </form>`;
}

function SignOut({ done }) {
  const { busy, act } = useAction(async () => {
    await ask("DELETE", "session").catch(() => {});
    await done();
  });
  return html`<button disabled=${busy} onClick=${act}>Sign out</button>`;
}

render(html`<${App} />`, document.getElementById("app"));

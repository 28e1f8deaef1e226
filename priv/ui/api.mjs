// Requests to the node that this page is from. Paths are relative, for a proxy may have the node below a path of its own.

const root = new URL("../", document.baseURI);

// The key of the session: the half of it that is no cookie. It is kept where pages of other ports and hosts do not reach, and opens
// nothing by itself. Whoever has browsers keep nothing signs in anew after each reload.
const place = `tidepool:${root.pathname}`;
let key = null;
try { key = localStorage.getItem(place); } catch { /* Nothing is kept here. */ }

/** Keeps the key of a session; null forgets it. */
export function keep(given) {
  key = given;
  try {
    if (given) localStorage.setItem(place, given); else localStorage.removeItem(place);
  } catch { /* Nothing is kept here. */ }
}

// Other tabs sign in and out, too.
addEventListener("storage", (event) => {
  if (event.key === place) key = event.newValue;
});

// A session ends when its user does nothing: what the page asks by itself does not count.
let used = true;
for (const event of ["pointerdown", "keydown", "wheel", "touchstart"]) addEventListener(event, () => { used = true; }, { capture: true, passive: true });

/** The address of a path that begins without a slash. */
export const url = (path) => new URL(path, root).href;

/** Segments as part of a path, in which a colon and an @ may stand as they are. */
export const path = (...segments) => segments.map((segment) => encodeURIComponent(segment).replaceAll("%3A", ":").replaceAll("%40", "@")).join("/");

/** What the node refused, or what was in the way of asking it. */
export class Refusal extends Error {
  constructor(status, error) {
    super(error.message ?? `the node answered ${status}`);
    this.status = status;
    this.details = error;
  }
}

/**
 * A request as it goes out; the header shows the node that it comes from a page of its own. What answers as it happens is read from
 * the body: an EventSource could not send the header.
 */
export async function send(method, target, { body, headers, signal, redirect = "error", cache } = {}) {
  const all = new Headers(headers);
  all.set("x-tidepool", key ?? "1");
  if (used) all.set("x-tidepool-user", "1");
  used = false;
  try {
    return await fetch(url(target), { method, body, headers: all, signal, credentials: "same-origin", redirect, cache });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal(0, { message: "the node can't be reached", reason: "unreachable" });
  }
}

/** What an answer says, as JSON; a refusal is thrown. */
export async function told(response) {
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const refusal = new Refusal(response.status, answer.error ?? {});
  if (response.status === 401) dispatchEvent(new CustomEvent("tidepool-unauthorized"));
  throw refusal;
}

/** A request, and what its answer says. */
export const ask = async (method, target, more) => told(await send(method, target, more));
export const get = (target, more) => ask("GET", target, more);

// Requests to the node that this page is from. Paths are relative, for a proxy may have the node below a path of its own.

const root = new URL("../", document.baseURI);

/** The address of a path that begins without a slash. */
export const url = (path) => new URL(path, root).href;

/** Segments as part of a path. */
export const path = (...segments) => segments.map(encodeURIComponent).join("/");

/** What the node refused, or what was in the way of asking it. */
export class Refusal extends Error {
  constructor(status, error) {
    super(error.message ?? `the node answered ${status}`);
    this.status = status;
    this.details = error;
  }
}

/** A request as it goes out; the header shows the node that it comes from a page of its own. */
export async function send(method, target, { body, headers, signal } = {}) {
  const all = { "x-tidepool": "1", ...headers };
  try {
    return await fetch(url(target), { method, body, headers: all, signal, credentials: "same-origin", redirect: "error" });
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

// The page's stream of events: one for all that it shows. It is read by fetch, for EventSource can't send the header by which the
// node knows a page of its own.
import { useEffect, useRef, useState } from "./base.mjs";
import { send, told } from "./api.mjs";

const again = 1000;

/** Reads events of a stream until it ends: `heard` gets the name, the data and the id of each. */
async function read(query, lastId, signal, heard) {
  const headers = lastId ? { "last-event-id": lastId } : {};
  const response = await send("GET", `events?${query}`, { headers, signal });
  if (!response.ok) await told(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const fields = Object.fromEntries(event.split("\n").map((line) => line.split(/: (.*)/s, 2)));
      if (fields.id) heard(fields.event, fields.data && JSON.parse(fields.data), fields.id);
      else if (fields.event) heard(fields.event, JSON.parse(fields.data));
    }
  }
}

/**
 * Follows topics while the page is to be seen and this is `on`: `heard` gets the name and the data of each event, a list of these
 * at a time. Who was away goes on from where it was. Returns whether it is connected, and the node's last refusal.
 */
export function useStream(query, heard, on = true) {
  const [state, set] = useState({ live: false, refusal: null });
  const last = useRef({ query, id: null });
  const listener = useRef(heard);
  listener.current = heard;
  useEffect(() => {
    if (last.current.query !== query) last.current = { query, id: null };
    if (!on) return undefined;
    let abort = null, timer = null, shown = null, stopped = false, waiting = [];
    const flush = () => {
      shown = null;
      const events = waiting;
      waiting = [];
      listener.current(events);
    };
    const hear = (name, data, id) => {
      if (id) last.current.id = id;
      set((before) => (before.live ? before : { live: true, refusal: null }));
      if (!name) return;
      waiting.push([name, data]);
      // A flood is drawn some times a second.
      shown ??= setTimeout(flush, 100);
    };
    const begin = async () => {
      clearTimeout(timer);
      if (document.hidden || abort || stopped) return;
      const mine = (abort = new AbortController());
      let refusal = null;
      try {
        await read(query, last.current.id, mine.signal, hear);
      } catch (error) {
        refusal = error.name === "AbortError" ? null : error;
      }
      if (abort === mine) abort = null;
      if (stopped) return;
      set({ live: false, refusal });
      // What is refused for good is asked for again when the page is looked at anew.
      if (!refusal?.status || refusal.status >= 500) timer = setTimeout(begin, again);
    };
    const seen = () => {
      if (!document.hidden) return begin();
      abort?.abort();
      abort = null;
    };
    document.addEventListener("visibilitychange", seen);
    begin();
    return () => {
      stopped = true;
      abort?.abort();
      clearTimeout(timer);
      if (shown) {
        clearTimeout(shown);
        flush();
      }
      document.removeEventListener("visibilitychange", seen);
    };
  }, [query, on]);
  return state;
}

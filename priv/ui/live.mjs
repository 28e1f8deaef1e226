// What is asked for again and again while somebody looks.
import { useEffect, useRef, useState } from "./base.mjs";
import { get } from "./api.mjs";

/**
 * What the node says at a path, asked for again after each answer and so many ms, while the page is to be seen: its last answer,
 * its last refusal, and a function that asks at once.
 */
export function useLive(target, every = 2000) {
  const [state, set] = useState({ target, data: null, refusal: null });
  const now = useRef(() => {});
  useEffect(() => {
    let timer, stopped = false;
    const abort = new AbortController();
    const round = async () => {
      clearTimeout(timer);
      if (!document.hidden) {
        try {
          const data = await get(target, { signal: abort.signal });
          if (!stopped) set({ target, data, refusal: null });
        } catch (refusal) {
          if (refusal.name !== "AbortError" && !stopped) set((before) => ({ ...before, target, refusal }));
        }
      }
      if (!stopped && every) timer = setTimeout(round, every);
    };
    const seen = () => document.hidden || round();
    now.current = round;
    document.addEventListener("visibilitychange", seen);
    round();
    return () => {
      stopped = true;
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [target, every]);
  // What is shown is never another target's.
  const own = state.target === target ? state : { data: null, refusal: null };
  return { ...own, reload: () => now.current() };
}

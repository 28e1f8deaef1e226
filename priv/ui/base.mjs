// What all of the page's files use of its packages.
import { h, render } from "./vendor/preact.mjs";
import htm from "./vendor/htm.mjs";

export { render };
export * from "./vendor/hooks.mjs";
export const html = htm.bind(h);

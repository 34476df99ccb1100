// Long lists, a page at a time.

import { get } from "../api.js";
import { h, link } from "../dom.js";

const ROWS = 50;

/**
 * Return a page of a list of the API's, and the way to its neighbours.
 * `part` is how many pages come before it; `name` is the page's own, for links.
 */
export async function paged(path, name, part = "0") {
  const at = Math.max(0, Number.parseInt(part, 10) || 0);
  const joint = path.includes("?") ? "&" : "?";
  const found = await get(`${path}${joint}limit=${ROWS + 1}&offset=${at * ROWS}`);
  const pager = h(
    "p",
    { class: "row" },
    at > 0 ? link(`/${name}/${at - 1}`, "← Before") : null,
    found.length > ROWS ? link(`/${name}/${at + 1}`, "More →") : null,
  );
  return [found.slice(0, ROWS), pager];
}

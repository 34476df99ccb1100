// Which page an address shows. An address is `#/name/part`; a page returns what is to be seen.

import { h, note } from "./dom.js";
import { restoreForms } from "./kept.js";
import { isLoggedOut, look, loginLinks, me } from "./session.js";

const pages = new Map();
const onShown = [];
let turn = 0;

/** Name the function that makes a page: `make(part)`, a promise of elements. */
export function page(name, make) {
  pages.set(name, make);
}

/** Have a function called once a page is shown. */
export function whenShown(listener) {
  onShown.push(listener);
}

const open = () => location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);

/** Show the page of the address, anew. */
export async function reload() {
  const mine = (turn += 1);
  let name = "",
    part,
    made;
  try {
    [name = "", part] = open();
    await look();
    made = me ? await (pages.get(name) ?? missing)(part) : await login();
  } catch (error) {
    made = isLoggedOut(error)
      ? await login()
      : [h("h1", {}, "This did not work"), note(error.message, "bad")];
  }
  if (mine !== turn) return; // Another page was asked for meanwhile.
  const main = document.getElementById("main");
  main.replaceChildren(...made.flat(3).filter((child) => child != null && child !== false));
  document.title = `${main.querySelector("h1")?.textContent ?? "Airlock"} · Airlock`;
  for (const listener of onShown) listener(name);
  restoreForms();
}

/** Go to a page; its text is read from the top. */
export async function go(hash) {
  if (location.hash === `#${hash}`) await reload();
  else location.hash = hash;
}

async function login() {
  return [
    h("h1", {}, "Log in"),
    h(
      "section",
      {},
      h(
        "p",
        {},
        "Airlock serves one model through two doors. Log in to ask for access to the unrestricted one, or to do your part for those who ask.",
      ),
      ...(await loginLinks()),
    ),
  ];
}

async function missing() {
  return [h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/" }, "Your access"))];
}

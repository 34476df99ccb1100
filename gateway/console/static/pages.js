// Which page an address shows. An address is `#/name/part`; a page returns what is to be seen.

import { h, note } from "./dom.js";
import { keepForms, restoreForms, takeKept, typedForms } from "./kept.js";
import { isLoggedOut, look, loginLinks, me } from "./session.js";

const pages = new Map();
const onShown = [];
let turn = 0;
let shown = {};

/** Name the function that makes a page: `make(part)`, a promise of elements. */
export function page(name, make) {
  pages.set(name, make);
}

/** Have a function called once a page is shown. */
export function whenShown(listener) {
  onShown.push(listener);
}

const open = () => location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);

/** Whether the page that is shown is the one that is asked for, of the same person. */
const isAnew = () => me && shown.person === me.person_id && shown.hash === location.hash;

/** Show the page of the address, anew. */
export async function reload() {
  const mine = (turn += 1);
  const main = document.getElementById("main");
  main.setAttribute("aria-busy", "true");
  let name = "",
    part,
    made,
    hasFailed = false;
  try {
    [name = "", part] = open();
    await look();
    made = me ? await (pages.get(name) ?? missing)(part) : await login();
  } catch (error) {
    made = isLoggedOut(error) ? await look().then(login).catch(failed) : failed(error);
    hasFailed = true;
  }
  if (mine !== turn) return; // Another page was asked for meanwhile.
  const typed = isAnew() ? typedForms() : [];
  // It may be a moment's trouble of the gateway, in the middle of what somebody writes.
  if (hasFailed && typed.length) keepForms(me.person_id);
  const hadFocus = main.contains(document.activeElement);
  main.replaceChildren(...made.flat(3).filter((child) => child != null && child !== false));
  document.title = `${main.querySelector("h1")?.textContent ?? "Airlock"} · Airlock`;
  main.removeAttribute("aria-busy");
  for (const listener of onShown) listener(name);
  shown = { hash: location.hash, person: me?.person_id };
  if (me && !hasFailed) restoreForms([...takeKept(me.person_id), ...typed]);
  // What had the focus is gone; a reader of the screen goes on from the page, not from its top.
  if (hadFocus) main.focus({ preventScroll: true });
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

function failed(error) {
  return [
    h("h1", {}, "This did not work"),
    note(error.message, "bad"),
    h("p", {}, h("button", { type: "button", on: { click: reload } }, "Try again")),
  ];
}

async function missing() {
  return [h("h1", {}, "There is no such page"), h("p", {}, h("a", { href: "#/" }, "Your access"))];
}

// Starts the console: the way between pages, and what stands above all of them.

import { logOut } from "./api.js";
import { h } from "./dom.js";
import { action } from "./forms.js";
import { forgetForms } from "./kept.js";
import { go, reload, whenShown } from "./pages.js";
import { me, reads, serves } from "./session.js";
import "./views/access.js";
import "./views/application.js";
import "./views/doors.js";
import "./views/evidence.js";
import "./views/grants.js";
import "./views/keys.js";
import "./views/log.js";
import "./views/people.js";
import "./views/reviews.js";

const main = document.getElementById("main");
/** Tells the other tabs of this browser that nobody is logged in any more. */
const tabs = new BroadcastChannel("airlock");
tabs.addEventListener("message", () => {
  forgetForms();
  reload();
});

async function leave() {
  forgetForms();
  tabs.postMessage("logged out");
  await go("/");
}

function menu() {
  if (!me) return [];
  return [
    ["", "Your access"],
    ["evidence", "Your evidence"],
    ["keys", "Your keys"],
    ...(serves()
      ? [
          ["reviews", "Applications"],
          ["doors", "Doors"],
        ]
      : []),
    ...(reads()
      ? [
          ["people", "People"],
          ["grants", "Grants"],
          ["log", "Log"],
        ]
      : []),
  ];
}

whenShown((name) => {
  const links = menu().map(([page, label]) =>
    h("a", { href: `#/${page}`, "aria-current": page === name ? "page" : null }, label),
  );
  document.getElementById("nav").replaceChildren(...links);
  document
    .getElementById("who")
    .replaceChildren(
      ...(me
        ? [
            h("span", {}, `${me.name}, ${me.organisation}`),
            action("Log out", logOut, { then: leave }),
          ]
        : []),
    );
});

addEventListener("hashchange", async () => {
  await reload();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
// Its address would be another page's.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
// What a browser has kept of a page of before is not shown to whoever goes back to it.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  main.replaceChildren();
  reload();
});
await reload();

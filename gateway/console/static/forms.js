// Forms and buttons that ask the API: once at a time, and with what went wrong beside them.

import { h } from "./dom.js";
import { keepForms } from "./kept.js";
import { reload } from "./pages.js";
import { askForStrongerLogin, asMyself, isLoggedOut, me } from "./session.js";

/** Do something, and then the next thing, once at a time; say what went wrong in `place`. */
async function attempt(button, place, work, then) {
  // A button that was disabled would lose the focus, and a reader of the screen their place.
  if (button.getAttribute("aria-disabled")) return;
  button.setAttribute("aria-disabled", "true");
  place.replaceChildren();
  const person = me?.person_id;
  try {
    await then(await asMyself(work));
  } catch (error) {
    await answer(error, place, person).catch((another) => place.append(another.message));
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

async function answer(error, place, person) {
  if (error.code === "insufficient_user_authentication") await askForStrongerLogin(error);
  else if (isLoggedOut(error)) {
    keepForms(person); // By now it may be somebody else who is logged in.
    await reload();
  } else place.append(error.message);
}

const complaint = () => h("p", { class: "note bad", role: "alert" });

/** A field: `name`, `label`, `type` (text by default), `hint`, `value`, `options`, and what inputs know. */
export function field({ name, label, type = "text", hint, value, options, ...more }) {
  if (type === "checkbox") {
    return h(
      "label",
      { class: "check" },
      h("input", { type, name, ...more }),
      h("span", {}, label),
    );
  }
  let input;
  if (type === "area") input = h("textarea", { name, ...more }, value ?? "");
  else if (type === "select") {
    input = h(
      "select",
      { name, ...more },
      Object.entries(options).map(([key, text]) =>
        h("option", { value: key, selected: key === value }, text),
      ),
    );
  } else input = h("input", { type, name, value, ...more });
  return h("label", {}, label, hint ? h("span", { class: "hint" }, hint) : null, input);
}

/**
 * Make a form. `send` gets its values by name and an idempotency key of this attempt; a field that
 * is empty is left out. Afterwards `then` is called with the answer, or the page is loaded again.
 * `of` is the version that its words are about; `stays` keeps what was typed afterwards.
 */
export function form({ id, of, fields, submit, danger = false, stays, send, then = reload }) {
  const place = complaint();
  const button = h("button", { class: danger ? "danger" : "" }, submit);
  let once = crypto.randomUUID();
  const made = h(
    "form",
    { id, "data-of": of },
    ...fields.map((one) => (one instanceof Node ? one : field(one))),
    place,
    h("div", {}, button),
  );
  const anew = () => (once = crypto.randomUUID());
  made.addEventListener("input", anew);
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(
      button,
      place,
      () => send(values(made), once),
      (answer) => {
        anew();
        if (!stays) made.reset();
        return then(answer);
      },
    );
  });
  return made;
}

function values(made) {
  const found = {};
  for (const one of made.elements) {
    if (!one.name) continue;
    if (one.type === "checkbox") found[one.name] = one.checked;
    else if (one.value.trim() !== "")
      found[one.name] = one.type === "number" ? Number(one.value) : one.value.trim();
  }
  return found;
}

/** Make a button that does something; with `sure`, it asks first. */
export function action(label, work, { sure, danger = false, plain = true, then = reload } = {}) {
  const place = complaint();
  const button = h(
    "button",
    { type: "button", class: `${plain ? "plain" : ""} ${danger ? "danger" : ""}` },
    label,
  );
  // The same until it is done: who presses it again, for want of an answer, does it once.
  let once = crypto.randomUUID();
  button.addEventListener("click", () => {
    if (sure && !confirm(sure)) return;
    attempt(
      button,
      place,
      () => work(once),
      (answer) => {
        once = crypto.randomUUID();
        return then(answer);
      },
    );
  });
  return h("span", {}, button, place);
}

/** Make what is opened before it is filled in. */
export function folded(title, ...children) {
  return h("details", {}, h("summary", {}, title), ...children);
}

const listed = (one) => `\\s*(?:${one})(?:\\s*,\\s*(?:${one}))*\\s*`;
const DOMAIN = "[a-z0-9][a-z0-9._\\-]{0,62}";
const DUTY = `identity_reviewer|approver|auditor|operator|administrator|domain_reviewer:${DOMAIN}`;
/** What fields take; a browser says so itself, where the API would show its own pattern. */
export const DOMAINS_ONLY = {
  pattern: listed(DOMAIN),
  title: "Names of domains, in small letters, with a comma between two",
};
export const DUTIES_ONLY = {
  pattern: listed(DUTY),
  title: "Duties, spelled as in the hint, with a comma between two",
};

export const NO_CONFLICT = {
  name: "no_conflict",
  type: "checkbox",
  required: true,
  label:
    "I have no other interest in this: not the person, not their organisation, nothing to gain.",
};

/** Return a day from now, as its reader's calendar has it, for a field of days. */
export function dateIn(days) {
  const at = new Date();
  at.setDate(at.getDate() + days);
  at.setMinutes(at.getMinutes() - at.getTimezoneOffset());
  return at.toISOString().slice(0, 10);
}

// Forms and buttons that ask the API: once at a time, and with what went wrong beside them.

import { ApiError } from "./api.js";
import { h } from "./dom.js";
import { reload } from "./pages.js";
import { askForStrongerLogin, isLoggedOut } from "./session.js";

/** Do something once; say what went wrong in `place`. Return whether it was done. */
async function attempt(work, place, buttons) {
  place.replaceChildren();
  for (const button of buttons) button.disabled = true;
  try {
    await work();
    return true;
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.code === "insufficient_user_authentication") await askForStrongerLogin(error);
    else if (isLoggedOut(error)) await reload();
    else place.append(error.message);
    return false;
  } finally {
    for (const button of buttons) button.disabled = false;
  }
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
 */
export function form({ id, fields, submit, danger = false, send, then = reload }) {
  const place = complaint();
  const button = h("button", { class: danger ? "danger" : "" }, submit);
  let once = crypto.randomUUID();
  const made = h(
    "form",
    { id },
    ...fields.map((one) => (one instanceof Node ? one : field(one))),
    place,
    h("div", {}, button),
  );
  made.addEventListener("input", () => {
    once = crypto.randomUUID();
  });
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    let answer;
    const done = await attempt(
      async () => {
        answer = await send(values(made), once);
      },
      place,
      [button],
    );
    if (done) await then(answer);
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
  button.addEventListener("click", async () => {
    if (sure && !confirm(sure)) return;
    const once = crypto.randomUUID();
    let answer;
    const done = await attempt(
      async () => {
        answer = await work(once);
      },
      place,
      [button],
    );
    if (done) await then(answer);
  });
  return h("span", {}, button, place);
}

/** Make what is opened before it is filled in. */
export function folded(title, ...children) {
  return h("details", {}, h("summary", {}, title), ...children);
}

export const NO_CONFLICT = {
  name: "no_conflict",
  type: "checkbox",
  required: true,
  label:
    "I have no other interest in this: not the person, not their organisation, nothing to gain.",
};
export const dateIn = (days) => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10);

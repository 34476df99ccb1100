// Makes elements. What people wrote is only ever set as text, so none of it becomes markup.

/** Make an element; `on` holds listeners, and a child that is null or false is left out. */
export function h(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value))
        element.addEventListener(event, listener);
    } else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(3).filter((child) => child != null && child !== false));
  return element;
}

export function section(title, ...children) {
  return h("section", {}, h("h2", {}, title), ...children);
}

export function badge([text, kind]) {
  return h("span", { class: `badge ${kind}` }, text);
}

export function note(text, kind = "") {
  return h("p", { class: `note ${kind}`, role: kind === "bad" ? "alert" : "status" }, text);
}

/** Make a list of terms; what has no value is left out. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value != null && value !== "");
  return h(
    "dl",
    {},
    known.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
  );
}

/** Make a table, or say that there is nothing; a column that holds nothing is left out. */
export function table(caption, heads, rows, nothing = "None yet.") {
  if (!rows.length) return h("p", { class: "quiet" }, nothing);
  const made = rows.map((cells) => cells.map((cell) => h("td", {}, cell)));
  const kept = heads.map((_, at) => made.some((cells) => cells[at].textContent));
  const held = (_, at) => kept[at];
  const head = h(
    "tr",
    {},
    heads.filter(held).map((text) => h("th", { scope: "col" }, text)),
  );
  const body = made.map((cells) => h("tr", {}, cells.filter(held)));
  return h(
    "div",
    { class: "wide" },
    h(
      "table",
      {},
      caption && h("caption", {}, caption),
      h("thead", {}, head),
      h("tbody", {}, body),
    ),
  );
}

/** An id among words, shortened; a pointer that rests on it shows all of it. */
export function short(id) {
  return h("code", { title: id }, id.replace(/([0-9a-f]{8})-[0-9a-f-]{27}/, "$1…"));
}

export function link(hash, ...children) {
  return h("a", { href: `#${hash}` }, ...children);
}

/** Show a dialog that the reader closes; it is gone then. */
export function dialog(title, ...children) {
  const close = h("button", { class: "plain", type: "button" }, "Close");
  const shown = h("dialog", { "aria-label": title }, h("h2", {}, title), ...children, close);
  close.addEventListener("click", () => shown.close());
  shown.addEventListener("close", () => {
    shown.remove();
    // What had the focus before may be gone with the page that it was on.
    if (document.activeElement === document.body) document.getElementById("main").focus();
  });
  document.body.append(shown);
  shown.showModal();
  return shown;
}

// The audit log, as far as a person reads it; what proves it is exported by `airlock audit`.

import { h, section, table } from "../dom.js";
import { page } from "../pages.js";
import { moment } from "../words.js";
import { paged } from "./paged.js";

page("log", async (part) => {
  const [events, pager] = await paged("/audit-events", "log", part);
  return [
    h("h1", {}, "Log"),
    h(
      "p",
      { class: "quiet" },
      "What was changed, by whom. ",
      h("code", {}, "airlock audit export"),
      " takes all of it along, with the proof that nothing is missing.",
    ),
    section(
      "The newest first",
      table(
        "",
        ["When", "Who", "What", "Of", "More"],
        events.map((event) => [
          moment(event.at),
          event.actor,
          h("code", {}, event.tag),
          h("code", {}, event.subject),
          folded(event),
        ]),
      ),
      pager,
    ),
  ];
});

function folded(event) {
  if (!Object.keys(event.detail).length) return null;
  return h(
    "details",
    {},
    h("summary", {}, "show"),
    h("pre", {}, JSON.stringify(event.detail, null, 2)),
  );
}

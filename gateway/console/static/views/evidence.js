// Evidence: one's own, and what reviewers do with others'.

import { get, post, quote } from "../api.js";
import { badge, dialog, h, section, table } from "../dom.js";
import { action, dateIn, field, folded, form, NO_CONFLICT } from "../forms.js";
import { page } from "../pages.js";
import { acts, has, me } from "../session.js";
import {
  ASSERTED_BY,
  COUNTS,
  day,
  EVIDENCE,
  EVIDENCE_OF_A_DOMAIN,
  evidenceName,
  evidenceState,
} from "../words.js";

page("evidence", async () => {
  const items = await get(`/evidence?person_id=${quote(me.person_id)}`);
  return [
    h("h1", {}, "Your evidence"),
    h(
      "p",
      { class: "quiet" },
      "A grant needs your identity and affiliation, and for each domain a training and a committee's approval. A reviewer asks the source, not you.",
    ),
    section("What is known of you", evidenceTable(items)),
    acts() ? ways() : null,
  ];
});

function ways() {
  return [
    section("Add evidence", adding()),
    section(
      "Show that you read mail at your institution",
      form({
        id: "institution-mail",
        submit: "Send me a link",
        fields: [
          {
            name: "email",
            label: "Your address there",
            type: "email",
            required: true,
            maxlength: 254,
            hint: "Of a mail domain that your organisation has listed. The link is good for an hour.",
          },
        ],
        send: (given, once) => post("/me/institution-mail", given, { once }),
        then: (sent) =>
          dialog("Look into your mail", h("p", {}, `A link is on its way to ${sent.email}.`)),
      }),
    ),
  ];
}

export function evidenceTable(items) {
  return table(
    "The newest first",
    ["What", "Source", "State", "Holds until", "Steps"],
    items.map((item) => [
      [evidenceName(item.kind), item.domain && ` (${item.domain})`],
      [
        item.source,
        item.document_digest && h("div", { class: "quiet" }, h("code", {}, item.document_digest)),
      ],
      [
        badge(evidenceState(item)),
        item.accepted_at && h("div", { class: "quiet" }, ASSERTED_BY[item.asserted_by]),
      ],
      day(item.expires_at),
      item.retracted_at ? null : steps(item),
    ]),
  );
}

function steps(item) {
  const isMine = item.person_id === me.person_id;
  const retract =
    acts() && (isMine || has("identity_reviewer"))
      ? action("Retract", (once) => post(`/evidence/${item.id}/retract`, undefined, { once }), {
          danger: true,
          sure: "Retract it, for ever? Grants that rest on it alone are suspended.",
        })
      : null;
  const accept =
    !isMine && !item.accepted_at && counts(item).length && has("identity_reviewer")
      ? folded("Accept", accepting(item))
      : null;
  return [accept, retract];
}

/** Whose word counts for it; a mail and a visa say themselves whose they are. */
const counts = ({ kind, asserted_by }) =>
  (COUNTS[kind] ?? []).filter((by) => [by, "unknown"].includes(asserted_by));

function accepting(item) {
  const moment = (text) => new Date(`${text}T00:00:00`).toISOString();
  return form({
    id: `accept-${item.id}`,
    submit: "Accept",
    fields: [
      {
        name: "asserted_by",
        label: "Who says so",
        type: "select",
        options: Object.fromEntries(counts(item).map((by) => [by, ASSERTED_BY[by]])),
        hint: "Whose word counts for this.",
      },
      {
        name: "asserted_at",
        label: "Since when",
        type: "date",
        required: true,
        value: dateIn(0),
        max: dateIn(0),
      },
      {
        name: "expires_at",
        label: "Until when it holds",
        type: "date",
        required: true,
        value: dateIn(180),
        min: dateIn(1),
        max: dateIn(5 * 365),
      },
      NO_CONFLICT,
    ],
    send: (given, once) =>
      post(
        `/evidence/${item.id}/accept`,
        { ...given, asserted_at: moment(given.asserted_at), expires_at: moment(given.expires_at) },
        { once },
      ),
  });
}

function adding() {
  const domain = field({
    name: "domain",
    label: "Domain",
    maxlength: 63,
    hint: "What was trained or approved is for one domain.",
  });
  const kind = field({ name: "kind", label: "What", type: "select", options: EVIDENCE });
  const chosen = kind.querySelector("select");
  const adapt = () => {
    domain.hidden = !EVIDENCE_OF_A_DOMAIN.includes(chosen.value);
    domain.querySelector("input").required = !domain.hidden;
  };
  chosen.addEventListener("change", adapt);
  adapt();
  return form({
    id: "add-evidence",
    submit: "Add",
    fields: [
      kind,
      domain,
      {
        name: "source",
        label: "Where a reviewer can ask",
        required: true,
        maxlength: 300,
        hint: "A registrar's office, a certificate's number, an ORCID iD. Keep documents yourself.",
      },
    ],
    send: ({ domain: typed, ...given }, once) =>
      post("/evidence", domain.hidden ? given : { ...given, domain: typed }, { once }),
  });
}

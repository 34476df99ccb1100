// Grants: everybody's, for those who watch over them, and what can be done to one.

import { post } from "../api.js";
import { badge, h, link, section, table } from "../dom.js";
import { action, folded, form } from "../forms.js";
import { page } from "../pages.js";
import { acts, has, me, opens, reads, serves } from "../session.js";
import { day, grantState, moment } from "../words.js";
import { paged } from "./paged.js";

page("grants", async (part) => {
  const [rows, pager] = await paged("/grants", "grants", part);
  return [h("h1", {}, "Grants"), section("Everybody's", grantsTable(rows, true), pager)];
});

export function grantsTable(grants, withPerson = false) {
  const heads = [
    "Domain",
    "State",
    "Ends",
    "Use reviewed by",
    ...(withPerson ? ["Of"] : []),
    "Steps",
  ];
  return table(
    "Grants",
    heads,
    grants.map((grant) => [
      [
        grant.domain,
        grant.suspended_reason && h("div", { class: "quiet" }, grant.suspended_reason),
      ],
      badge(grantState(grant)),
      moment(grant.expires_at),
      day(grant.usage_review_due_at),
      ...(withPerson ? [holder(grant)] : []),
      steps(grant),
    ]),
  );
}

function holder(grant) {
  return [
    reads() ? link(`/person/${grant.person_id}`, "person") : null,
    " ",
    grant.application_id
      ? link(`/application/${grant.application_id}`, "application")
      : "given directly",
  ];
}

function steps(grant) {
  const [state] = grantState(grant);
  if (["revoked", "expired"].includes(state)) return null;
  const at = (name) => `/grants/${grant.id}/${name}`;
  const isOthers = grant.person_id !== me.person_id;
  const judges = isOthers && opens(grant.domain);
  return [
    acts() && (serves() || !isOthers) && !grant.suspended_at
      ? folded(
          "Suspend",
          form({
            id: `suspend-${grant.id}`,
            submit: "Suspend at once",
            danger: true,
            fields: [
              {
                name: "reason",
                label: "Reason",
                required: true,
                maxlength: 500,
                hint: "Running answers end within a second. Another person resumes.",
              },
            ],
            send: (given, once) => post(at("suspend"), given, { once }),
          }),
        )
      : null,
    judges && grant.suspended_at && grant.suspended_by !== `person:${me.person_id}`
      ? action("Resume", (once) => post(at("resume"), undefined, { once }), {
          sure: "Resume this grant?",
        })
      : null,
    judges && grant.application_id
      ? folded(
          "Review its use",
          form({
            id: `usage-${grant.id}`,
            submit: "Record the review",
            fields: [
              {
                name: "outcome",
                label: "Outcome",
                type: "select",
                options: {
                  continue: "Continue",
                  ...(grant.suspended_at ? {} : { suspend: "Suspend" }),
                  revoke: "Revoke",
                },
              },
              { name: "rationale", label: "Reason", required: true, maxlength: 500 },
            ],
            send: (given, once) => post(at("usage-reviews"), given, { once }),
          }),
        )
      : null,
    has("administrator", "operator")
      ? action("Revoke", (once) => post(at("revoke"), undefined, { once }), {
          danger: true,
          sure: `Revoke this grant for ${grant.domain}, for ever?`,
        })
      : null,
  ];
}

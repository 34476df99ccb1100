// Break-glass: closing doors takes one person, opening them two.

import { get, post } from "../api.js";
import { badge, h, section, short, table } from "../dom.js";
import { action, folded, form } from "../forms.js";
import { page } from "../pages.js";
import { domainsReviewed, has, me, opens, restricts } from "../session.js";
import { moment } from "../words.js";

page("doors", async () => {
  const [closures, openings] = await Promise.all([get("/closures"), get("/openings")]);
  return [
    h("h1", {}, "Doors"),
    h(
      "p",
      { class: "quiet" },
      "Close first, ask then: one person closes a domain for everybody, and running answers end within a second. Two people open it again.",
    ),
    section(
      "Closed doors",
      table(
        "The newest first",
        ["Domain", "Reason", "By", "Since", "State", "Steps"],
        closures.map((one) => [
          one.domain ?? "every domain",
          one.reason,
          short(one.closed_by),
          moment(one.closed_at),
          badge(one.lifted_at ? ["open again", "good"] : ["closed", "bad"]),
          opens(one.domain) && !one.lifted_at ? folded("Lift", lifting(one)) : null,
        ]),
        "No door is closed.",
      ),
    ),
    restricts() ? section("Close a door", closing()) : null,
    section(
      "Openings",
      table(
        "What one person has asked to open, and another confirms within an hour",
        ["What", "Reason", "Asked by", "When", "Confirmed by", "Steps"],
        openings.map((one) => [
          one.closure_id
            ? `the end of the closure of ${one.domain ?? "every domain"}`
            : [`${one.domain}, ${one.minutes} minutes, for `, short(one.person_id)],
          one.reason,
          short(one.requested_by),
          moment(one.requested_at),
          one.confirmed_by && short(one.confirmed_by),
          one.confirmed_at ? null : confirming(one),
        ]),
        "None.",
      ),
    ),
    has("approver") || domainsReviewed().length
      ? section("Ask for an emergency grant", emergency())
      : null,
  ];
});

const LASTS_MS = 3_600_000;

function confirming(opening) {
  if (Date.now() >= Date.parse(opening.requested_at) + LASTS_MS) return "lapsed";
  if (opening.requested_by === me.person_id) return "waits for another person";
  if (!opens(opening.domain) || opening.person_id === me.person_id) return null;
  const confirm = (once) => post(`/openings/${opening.id}/confirm`, undefined, { once });
  return action("Confirm", confirm, {
    sure: opening.closure_id
      ? `End the closure of ${opening.domain ?? "every domain"}?`
      : `Open ${opening.domain} to this person, for ${opening.minutes} minutes?`,
  });
}

function lifting(closure) {
  return form({
    id: `lift-${closure.id}`,
    submit: "Ask to lift it",
    fields: [
      {
        name: "reason",
        label: "Reason",
        required: true,
        maxlength: 500,
        hint: "Another person confirms.",
      },
    ],
    send: (given, once) => post(`/closures/${closure.id}/lift`, given, { once }),
  });
}

const REASON = { name: "reason", label: "Reason", required: true, maxlength: 500 };

function closing() {
  return [
    form({
      id: "close-door",
      submit: "Close it at once",
      danger: true,
      fields: [
        { name: "domain", label: "Domain", required: true, maxlength: 63 },
        REASON,
        sure("Everybody's answers from this domain that run now end within a second."),
      ],
      send: ({ domain, reason }, once) => post("/closures", { domain, reason }, { once }),
    }),
    folded(
      "Close every door",
      form({
        id: "close-every-door",
        submit: "Close every door at once",
        danger: true,
        fields: [REASON, sure("Nobody reaches base any more, until two approvers lift it.")],
        send: ({ reason }, once) => post("/closures", { domain: null, reason }, { once }),
      }),
    ),
  ];
}

const sure = (label) => ({ name: "sure", type: "checkbox", required: true, label });

function emergency() {
  return form({
    id: "emergency",
    submit: "Ask for it",
    fields: [
      {
        name: "person_id",
        label: "Person",
        required: true,
        hint: "Their id. Never yourself, nor a colleague.",
      },
      { name: "domain", label: "Domain", required: true, maxlength: 63 },
      {
        name: "minutes",
        label: "Minutes",
        type: "number",
        required: true,
        min: 1,
        max: 60,
        value: 60,
      },
      { name: "reason", label: "Reason", required: true, maxlength: 500 },
    ],
    send: (given, once) => post("/openings", given, { once }),
  });
}

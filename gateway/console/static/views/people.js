// People and organisations, for those who administer, operate or audit.

import { call, exchange, get, quote } from "../api.js";
import { badge, facts, h, link, section, table } from "../dom.js";
import { action, DUTIES_ONLY, folded, form } from "../forms.js";
import { page } from "../pages.js";
import { has } from "../session.js";
import { moment, spaced } from "../words.js";
import { explained } from "./access.js";
import { evidenceTable } from "./evidence.js";
import { grantsTable } from "./grants.js";
import { paged } from "./paged.js";

const state = (row) => [
  row.state,
  { active: "good", verified: "good", suspended: "bad" }[row.state] ?? "warn",
];

page("people", async (part) => {
  const [[people, pager], organisations] = await Promise.all([
    paged("/people", "people", part),
    get("/organisations?limit=1000"),
  ]);
  return [
    h("h1", {}, "People"),
    section(
      "Who is known here",
      table(
        "In the order in which they came",
        ["Name", "Organisation", "Tier", "State", "Since"],
        people.map((one) => [
          link(`/person/${one.id}`, one.name),
          one.organisation,
          one.tier,
          badge(state(one)),
          moment(one.created_at),
        ]),
      ),
      pager,
    ),
    section(
      "Organisations",
      table(
        "Nobody of an unverified organisation reviews, and no grant of its people counts",
        ["Name", "Mail domains", "State", "Steps"],
        organisations.map((one) => [
          one.name,
          one.mail_domains.join(", "),
          badge(state(one)),
          organisationSteps(one),
        ]),
      ),
    ),
  ];
});

function organisationSteps(one) {
  const to = (wanted) => () => call("PATCH", `/organisations/${one.id}`, { state: wanted });
  return [
    has("administrator") && one.state !== "verified"
      ? action("Verify", to("verified"), { sure: `Verify ${one.name}?` })
      : null,
    has("administrator", "operator") && one.state !== "suspended"
      ? action("Suspend", to("suspended"), {
          danger: true,
          sure: `Suspend ${one.name}? Every grant of its people stops counting at once.`,
        })
      : null,
  ];
}

page("person", async (id) => {
  const at = `/people/${quote(id)}`;
  const [
    person,
    {
      found: { roles },
      tag,
    },
    tiers,
    grants,
    items,
  ] = await Promise.all([
    get(at),
    exchange("GET", `${at}/roles`),
    get("/tiers"),
    get(`/grants?person_id=${quote(id)}`),
    get(`/evidence?person_id=${quote(id)}`),
  ]);
  return [
    h("h1", {}, person.name),
    section(
      "Who this is",
      facts([
        ["Organisation", person.organisation],
        ["Tier", person.tier],
        ["State", badge(state(person))],
        ["Duties", roles.map(spaced).join(", ") || "none"],
        ["Since", moment(person.created_at)],
        ["Person", h("code", {}, person.id)],
      ]),
      personSteps(person, at, tiers),
      dutiesStep(at, roles, tag),
    ),
    section("Grants", grantsTable(grants, true)),
    section("Evidence", evidenceTable(items)),
    section("Would they be served?", asking(id)),
  ];
});

function dutiesStep(at, roles, match) {
  return has("administrator")
    ? folded(
        "Change duties",
        form({
          id: "roles",
          of: match,
          submit: "Change duties",
          fields: [
            {
              name: "roles",
              label: "Duties",
              ...DUTIES_ONLY,
              value: roles.join(", "),
              hint: "Separated by commas: identity_reviewer, domain_reviewer:bio, approver, auditor, operator, administrator.",
            },
          ],
          send: ({ roles: typed = "" }) =>
            call(
              "PUT",
              `${at}/roles`,
              {
                roles: typed
                  .split(",")
                  .map((one) => one.trim())
                  .filter(Boolean),
              },
              { match },
            ),
        }),
      )
    : null;
}

function personSteps(person, at, tiers) {
  const to = (wanted) => () => call("PATCH", at, { state: wanted });
  const isActive = person.state === "active";
  return [
    has("administrator", "operator") && isActive
      ? action("Suspend", to("suspended"), {
          danger: true,
          sure: `Suspend ${person.name}? Keys, logins and grants stop counting at once.`,
        })
      : null,
    has("administrator") && !isActive
      ? action("Reinstate", to("active"), { sure: `Reinstate ${person.name}?` })
      : null,
    has("administrator")
      ? folded(
          "Change name, organisation or tier",
          form({
            id: "person",
            submit: "Change",
            fields: [
              { name: "name", label: "Name", required: true, maxlength: 200, value: person.name },
              {
                name: "organisation",
                label: "Organisation",
                required: true,
                maxlength: 200,
                value: person.organisation,
                hint: "Applications that wait come back to them, and evidence of the old organisation's mail ends.",
              },
              {
                name: "tier",
                label: "Tier",
                type: "select",
                value: person.tier,
                options: Object.fromEntries(
                  tiers.map((tier) => [
                    tier.name,
                    `${tier.name}: ${tier.grantable ? "may hold grants" : "holds no grants"}`,
                  ]),
                ),
              },
            ],
            send: (given) => call("PATCH", at, changed(given, person)),
          }),
        )
      : null,
  ];
}

const changed = (given, before) =>
  Object.fromEntries(Object.entries(given).filter(([name, value]) => value !== before[name]));

function asking(id) {
  const place = h("div", { "aria-live": "polite" });
  return [
    form({
      id: "explain",
      submit: "Look",
      stays: true,
      fields: [{ name: "model", label: "Model", required: true, placeholder: "family:base" }],
      send: ({ model }) => get(`/explain?person_id=${quote(id)}&model=${quote(model)}`),
      then: (answer) => place.replaceChildren(...explained(answer)),
    }),
    place,
  ];
}

// The first page: what one has, what one has asked for, and what to do next.

import { call, get, post, quote } from "../api.js";
import { badge, dialog, facts, h, link, note, section, table } from "../dom.js";
import { action, folded, form } from "../forms.js";
import { page } from "../pages.js";
import { acts, me } from "../session.js";
import { day, moment, spaced, stateOf } from "../words.js";
import { grantsTable } from "./grants.js";

/** What an applicant is to do, by the state of an application. */
const NEXT = {
  draft: "Hand it in when it is complete.",
  submitted: "An identity reviewer will take it up.",
  identity_review: "An identity reviewer looks at your evidence.",
  domain_review: "Reviewers of each domain look at your purpose.",
  approval: "Two people have to approve each domain.",
  approved: "Accept the terms of use: your grants are made then.",
  granted: "Your grants are made.",
  returned: "Something is to be mended: read what was said, and edit it.",
  rejected: "You may appeal once; other people judge then.",
  appealed: "An identity reviewer who has not judged it will take it up.",
  withdrawn: "You have given it up.",
  lapsed: "Nothing has happened for 30 days. You may apply again.",
};

export const next = ({ state, round }) =>
  state === "rejected" && round > 1
    ? "It was judged twice. You may apply anew."
    : (NEXT[state] ?? "");

page("", async () => {
  const [[applications, grants], terms, mail] = await Promise.all([
    own(),
    get("/terms"),
    get("/me/address"),
  ]);
  return [
    h("h1", {}, "Your access"),
    facts([
      ["Name", me.name],
      ["Organisation", me.organisation],
      ["Tier", me.tier],
      ["Duties", me.roles.map(spaced).join(", ")],
      ["Person", h("code", {}, me.person_id)],
    ]),
    section(
      "What is open to you",
      grants.length
        ? null
        : note(
            "No application of yours has led to a grant yet. Everybody reaches the unlearned model; a grant opens a domain's knowledge.",
          ),
      grants.length ? grantsTable(grants) : null,
      why(),
    ),
    section(
      "What you have applied for",
      table(
        "Newest first",
        ["For", "State", "Since", "What is next"],
        applications.map((one) => [
          link(`/application/${one.id}`, one.domains.join(", ")),
          badge(stateOf(one)),
          day(one.since),
          next(one),
        ]),
        "Nothing yet.",
      ),
      acts() ? h("p", {}, h("a", { class: "button", href: "#/apply" }, "Apply for access")) : null,
    ),
    section("Mail", address(mail)),
    terms.length ? section("Terms of use", current(terms).map(accepting)) : null,
    me.roles.length ? null : folded("I have a code of “airlock bootstrap”", first()),
  ];
});

/** One's applications, the newest first, and the grants that they led to. */
export async function own() {
  const found = await get(`/applications?person_id=${quote(me.person_id)}`);
  return [found, found.flatMap((application) => application.grants)];
}

function address(mail) {
  return [
    facts([
      ["Notices go to", mail.email ?? "nobody: you are told nothing by mail"],
      [
        "Waits for its link",
        mail.pending_email && `${mail.pending_email}, until ${moment(mail.pending_until)}`,
      ],
    ]),
    folded(
      "Change it",
      form({
        id: "address",
        submit: "Send a link there",
        fields: [
          {
            name: "email",
            label: "Address",
            type: "email",
            required: true,
            maxlength: 254,
            hint: "It counts once you have opened the link.",
          },
        ],
        send: (given, once) => call("PUT", "/me/address", given, { once }),
      }),
    ),
    mail.email
      ? action("Erase it", () => call("DELETE", "/me/address"), {
          danger: true,
          sure: "Be told nothing by mail any more?",
        })
      : null,
  ];
}

function accepting(terms) {
  const accept = (once) => post(`/terms/${quote(terms.digest)}/accept`, undefined, { once });
  return folded(
    `Version of ${day(terms.created_at)}, mandatory from ${day(terms.mandatory_from)}`,
    h("pre", { tabindex: 0 }, terms.text),
    acts() &&
      action("Accept these terms", accept, {
        then: (accepted) =>
          dialog("Accepted", h("p", {}, `Since ${moment(accepted.accepted_at)}.`)),
      }),
  );
}

/** The terms that count now; null before the first. */
export const inForce = (terms, now = Date.now()) =>
  terms
    .filter((one) => Date.parse(one.mandatory_from) <= now)
    .sort((one, other) => Date.parse(one.mandatory_from) - Date.parse(other.mandatory_from))
    .at(-1) ?? null;

/** The terms that count now or will; what they have taken the place of is of no use to accept. */
function current(terms, now = Date.now()) {
  const ours = inForce(terms, now);
  return terms.filter((one) => one === ours || Date.parse(one.mandatory_from) > now);
}

function why() {
  const place = h("div", { "aria-live": "polite" });
  const ask = form({
    id: "why",
    submit: "Look",
    stays: true,
    fields: [
      {
        name: "model",
        label: "Would I be served this model, now?",
        required: true,
        placeholder: "family:base",
      },
    ],
    send: ({ model }) => get(`/explain?person_id=${quote(me.person_id)}&model=${quote(model)}`),
    then: (answer) => place.replaceChildren(...explained(answer)),
  });
  return [ask, place];
}

export function explained(answer) {
  const yes = answer.effect === "allow";
  return [
    h(
      "p",
      {},
      badge([yes ? "yes" : "no", yes ? "good" : "bad"]),
      " ",
      spaced(answer.rule),
      answer.served ? [": ", h("code", {}, answer.served), " answers"] : null,
      answer.missing.length ? `: a grant is missing for ${answer.missing.join(", ")}` : null,
    ),
    h(
      "ul",
      {},
      answer.grounds.map((ground) => h("li", {}, h("code", {}, ground.row), ": ", ground.says)),
    ),
  ];
}

function first() {
  return form({
    id: "first-administrator",
    submit: "Become the first administrator",
    fields: [{ name: "code", label: "Code", required: true, autocomplete: "off" }],
    send: (given, once) => post("/me/first-administrator", given, { once }),
  });
}

// The first page: what one has, what one has asked for, and what to do next.

import { get, post, quote } from "../api.js";
import { badge, facts, h, link, note, section, table } from "../dom.js";
import { field, folded, form } from "../forms.js";
import { page } from "../pages.js";
import { me } from "../session.js";
import { day, grantState, moment, spaced, stateOf } from "../words.js";

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
  lapsed: "Nothing has happened for 30 days. Apply again.",
};

export const next = (application) => NEXT[application.state] ?? "";

page("", async () => {
  const [applications, grants] = await own();
  return [
    h("h1", {}, "Your access"),
    facts([["Name", me.name], ["Organisation", me.organisation], ["Tier", me.tier],
      ["Duties", me.roles.map(spaced).join(", ")], ["Person", h("code", {}, me.person_id)]]),
    section("What is open to you",
      grants.length ? null : note("Everybody reaches the unlearned model. For a domain's knowledge apply for a grant."),
      table("Your grants", ["Domain", "State", "Ends", "From"],
        grants.map((grant) => [grant.domain, badge(grantState(grant)), moment(grant.expires_at),
          link(`/application/${grant.application_id}`, "application")]), ""),
      why()),
    section("What you have applied for",
      table("Newest first", ["For", "State", "Since", "What is next"], applications.map((one) => [
        link(`/application/${one.id}`, one.domains.join(", ")), badge(stateOf(one)), day(one.since), next(one)]),
        "Nothing yet."),
      h("p", {}, h("a", { class: "button", href: "#/apply" }, "Apply for access"))),
    me.roles.length ? null : folded("I have a code of “airlock bootstrap”", first()),
  ];
});

/** One's applications, the newest first, and the grants that they led to. */
export async function own() {
  const found = await get(`/applications?person_id=${quote(me.person_id)}`);
  return [found, found.flatMap((application) => application.grants)];
}

function why() {
  const place = h("div", { "aria-live": "polite" });
  const ask = form({
    id: "why", submit: "Look",
    fields: [field({ name: "model", label: "Would I be served this model, now?", required: true, placeholder: "family:base" })],
    send: ({ model }) => get(`/explain?person_id=${quote(me.person_id)}&model=${quote(model)}`),
    then: (answer) => place.replaceChildren(...explained(answer)),
  });
  return [ask, place];
}

export function explained(answer) {
  const yes = answer.effect === "allow";
  return [
    h("p", {}, badge([yes ? "yes" : "no", yes ? "good" : "bad"]), " ", spaced(answer.rule),
      answer.served ? [": ", h("code", {}, answer.served), " answers"] : null,
      answer.missing.length ? `: a grant is missing for ${answer.missing.join(", ")}` : null),
    h("ul", {}, answer.grounds.map((ground) => h("li", {}, h("code", {}, ground.row), ": ", ground.says))),
  ];
}

function first() {
  return form({
    id: "first-administrator", submit: "Become the first administrator",
    fields: [{ name: "code", label: "Code", required: true, autocomplete: "off" }],
    send: (given, once) => post("/me/first-administrator", given, { once }),
  });
}

// Applications that wait for others than their applicants, and a reviewer's word on one.

import { get, post } from "../api.js";
import { badge, h, link, section, table } from "../dom.js";
import { action, form, NO_CONFLICT } from "../forms.js";
import { page } from "../pages.js";
import { domainsReviewed, has, me } from "../session.js";
import { day, stateOf } from "../words.js";

/** Which states wait for whom; the first is looked at first. */
const WAIT_FOR = [
  [() => has("identity_reviewer"), "To take up", ["submitted", "appealed"]],
  [() => has("identity_reviewer"), "Identity and affiliation", ["identity_review"]],
  [() => domainsReviewed().length > 0, "Domain", ["domain_review"]],
  [() => has("approver") || domainsReviewed().length > 0, "Approval", ["approval"]],
];
const EVERY = ["submitted", "appealed", "identity_review", "domain_review", "approval", "approved"];
const REVIEWED = { identity_review: "pass", domain_review: "pass", approval: "approve" };

page("reviews", async () => {
  const mine = WAIT_FOR.filter(([isMine]) => isMine());
  const wanted = mine.length ? mine : [[null, "All that are open", EVERY]];
  const lists = await Promise.all(
    wanted.map(([, , states]) =>
      get(`/applications?${states.map((one) => `state=${one}`).join("&")}`),
    ),
  );
  return [
    h("h1", {}, "Applications"),
    h(
      "p",
      { class: "quiet" },
      "Who has waited longest comes first. You cannot judge yourself or your own organisation.",
    ),
    wanted.map(([, title], index) => section(title, queue(lists[index]))),
  ];
});

function queue(applications) {
  return table(
    "The longest wait first",
    ["Applicant", "For", "State", "Since"],
    applications.map((one) => [
      link(
        `/application/${one.id}`,
        one.name,
        h("span", { class: "quiet" }, `, ${one.organisation}`),
      ),
      one.domains.join(", "),
      badge(stateOf(one)),
      day(one.since),
    ]),
    "Nobody waits.",
  );
}

/** What whoever reads an application can say of it; nothing where it is not for them. */
export function judging(application) {
  const { state } = application;
  if (["submitted", "appealed"].includes(state) && has("identity_reviewer")) {
    return section(
      "Begin the review",
      action(
        "Take it up",
        (once) =>
          post(`/applications/${application.id}/take-up`, { digest: application.digest }, { once }),
        { plain: false },
      ),
    );
  }
  const isMine =
    state === "identity_review"
      ? has("identity_reviewer")
      : application.domains.some((domain) => domainsReviewed().includes(domain)) ||
        (state === "approval" && has("approver"));
  if (!REVIEWED[state] || !isMine || application.person_id === me.person_id) return null;
  const forward = state === "approval" ? { approve: "Approve" } : { pass: "Pass it on" };
  return section(
    "Your word",
    form({
      id: "judgement",
      submit: "Say so",
      fields: [
        {
          name: "decision",
          label: "Decision",
          type: "select",
          options: { ...forward, return: "Return: something can be mended", reject: "Reject" },
        },
        {
          name: "rationale",
          label: "Reason",
          type: "area",
          required: true,
          maxlength: 4000,
          hint: "The applicant reads it, and it is kept with your name.",
        },
        NO_CONFLICT,
      ],
      send: (given, once) =>
        post(
          `/applications/${application.id}/judgements`,
          { ...given, digest: application.digest },
          { once },
        ),
    }),
  );
}

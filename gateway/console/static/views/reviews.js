// Applications that wait for others than their applicants, and a reviewer's word on one.

import { get, post } from "../api.js";
import { badge, h, link, note, section, table } from "../dom.js";
import { action, form, NO_CONFLICT } from "../forms.js";
import { page } from "../pages.js";
import { domainsReviewed, has, me, opens } from "../session.js";
import { day, grantState, stateOf } from "../words.js";
import { grantsTable } from "./grants.js";

const ofMyDomains = ({ domains }) => domains.some((one) => domainsReviewed().includes(one));
const ofMine = (application) => has("approver") || ofMyDomains(application);
const judgesDomains = () => has("approver") || domainsReviewed().length > 0;
/** Which states wait for whom, and which applications of them; the first is looked at first. */
const WAIT_FOR = [
  [() => has("identity_reviewer"), "To take up", ["submitted", "appealed"], () => true],
  [() => has("identity_reviewer"), "Identity and affiliation", ["identity_review"], () => true],
  [() => domainsReviewed().length > 0, "Domain", ["domain_review"], ofMyDomains],
  [judgesDomains, "Approval", ["approval"], ofMine],
];
const EVERY = ["submitted", "appealed", "identity_review", "domain_review", "approval", "approved"];

page("reviews", async () => {
  const mine = WAIT_FOR.filter(([isMine]) => isMine());
  const wanted = mine.length ? mine : [[null, "All that are open", EVERY, () => true]];
  const inStates = (states) =>
    get(`/applications?limit=1000&${states.map((one) => `state=${one}`).join("&")}`);
  const lists = await Promise.all(wanted.map(([, , states]) => inStates(states)));
  const granted = judgesDomains() ? await inStates(["granted"]) : [];
  return [
    h("h1", {}, "Applications"),
    h(
      "p",
      { class: "quiet" },
      "Who has waited longest comes first. You cannot judge yourself or your own organisation.",
    ),
    wanted.map(([, title, , isFor], index) => section(title, queue(lists[index].filter(isFor)))),
    judgesDomains()
      ? section("Grants whose use you may review", grantsTable(reviewed(granted), true))
      : null,
  ];
});

/** The grants that somebody judges, what is due first. */
function reviewed(applications) {
  return applications
    .flatMap((one) => one.grants)
    .filter((one) => opens(one.domain) && one.person_id !== me.person_id)
    .filter((one) => !["revoked", "expired"].includes(grantState(one)[0]))
    .sort((one, other) => one.usage_review_due_at.localeCompare(other.usage_review_due_at));
}

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

function isForMe(application) {
  if (["submitted", "appealed", "identity_review"].includes(application.state))
    return has("identity_reviewer");
  if (application.state === "domain_review") return ofMyDomains(application);
  return application.state === "approval" && ofMine(application);
}

/** Why somebody is not to judge an application, as far as it can be seen from here. */
function conflict({ organisation, statements, round }) {
  if (organisation === me.organisation)
    return "The applicant is of your own organisation; others judge.";
  if (statements.some((said) => said.person_id === me.person_id && said.round < round))
    return "You have judged it before the appeal; others hear that.";
  return null;
}

/** What whoever reads an application can say of it; nothing where it is not for them. */
export function judging(application) {
  const { state } = application;
  if (!isForMe(application)) return null;
  const why = conflict(application);
  if (why) return section("Your word", note(why));
  if (["submitted", "appealed"].includes(state)) {
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
  const forward = state === "approval" ? { approve: "Approve" } : { pass: "Pass it on" };
  return section(
    "Your word",
    form({
      id: "judgement",
      of: application.digest,
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

// One application: its course, what was said of it, and the steps of whoever reads it.

import { call, get, post, quote } from "../api.js";
import { badge, facts, h, link, note, section, short, table } from "../dom.js";
import { action, DOMAINS_ONLY, folded, form } from "../forms.js";
import { go, page } from "../pages.js";
import { acts, me, serves } from "../session.js";
import { COURSE, day, grantState, moment, spaced, stateOf } from "../words.js";
import { inForce, next, own } from "./access.js";
import { evidenceTable } from "./evidence.js";
import { grantsTable } from "./grants.js";
import { judging } from "./reviews.js";

const EDITED = [...COURSE.slice(0, -1), "returned", "appealed"];

page("apply", async (earlier) => [
  h("h1", {}, "Apply for access"),
  h(
    "p",
    { class: "quiet" },
    "A grant opens one hazard domain to you, for a time. Your application is a draft until you hand it in.",
  ),
  section(
    "What for",
    content(
      "apply",
      earlier ? await get(`/applications/${quote(earlier)}`) : {},
      "Keep as a draft",
      (given, once) => post("/applications", given, { once }),
    ),
  ),
]);

page("application", async (id) => {
  const application = await get(`/applications/${quote(id)}`);
  const isMine = application.person_id === me.person_id;
  return [
    h("h1", {}, `Application for ${application.domains.join(", ")}`),
    course(application),
    section(
      "What is applied for",
      facts([
        ["State", [badge(stateOf(application)), ` since ${moment(application.since)}`]],
        ["Next", isMine ? next(application) : null],
        ["Lapses", application.lapses_at && `${day(application.lapses_at)}, if nothing happens`],
        ["Applicant", `${application.name}, ${application.organisation}`],
        ["Person", h("code", {}, application.person_id)],
        ["Purpose", application.purpose],
        ["Project", application.project],
        ["Overseen by", application.oversight_ref],
        ["Days", application.days],
        ["Version", [`${application.version} `, h("code", {}, application.digest)]],
      ]),
      isMine && acts() ? await ownSteps(application) : null,
    ),
    application.statements.length ? section("What was said of it", statements(application)) : null,
    application.grants.length ? section("Its grants", grantsTable(application.grants)) : null,
    isMine || !serves() ? null : await judged(application),
  ];
});

function course(application) {
  const at = COURSE.indexOf(application.state);
  if (at < 0) return null; // Its badge says where it is instead.
  return h(
    "ol",
    { class: "course", "aria-label": "The course of an application" },
    COURSE.map((state, index) =>
      h(
        "li",
        {
          class: index < at || application.state === "granted" ? "done" : "",
          "aria-current": index === at ? "step" : null,
        },
        spaced(state),
      ),
    ),
  );
}

function statements(application) {
  return table(
    "The newest last",
    ["When", "By", "As", "Word", "Reason", "Of"],
    application.statements.map((said) => [
      moment(said.created_at),
      [short(said.person_id), `, ${said.organisation}`],
      [spaced(said.kind), said.domain && ` (${said.domain})`],
      spaced(said.decision),
      said.rationale,
      ofWhich(said, application),
    ]),
  );
}

function ofWhich({ digest }, application) {
  if (!digest) return "the application"; // A word against it, of whichever version.
  return digest === application.digest ? "this version" : "an earlier version";
}

function content(id, given, submit, send) {
  return form({
    id,
    of: given.digest,
    submit,
    fields: [
      {
        name: "domains",
        label: "Hazard domains",
        ...DOMAINS_ONLY,
        required: true,
        value: given.domains?.join(", "),
        hint: "Separated by commas, as your operator names them: bio, cyber, chem.",
      },
      {
        name: "purpose",
        label: "Purpose",
        type: "area",
        required: true,
        maxlength: 4000,
        value: given.purpose,
        hint: "What you want to find out, and why it takes this knowledge.",
      },
      { name: "project", label: "Project", required: true, maxlength: 200, value: given.project },
      {
        name: "oversight_ref",
        label: "Overseen by",
        required: true,
        maxlength: 200,
        value: given.oversight_ref,
        hint: "The reference of your ethics or biosafety committee.",
      },
      {
        name: "days",
        label: "Days",
        type: "number",
        required: true,
        min: 1,
        max: 366,
        value: given.days ?? 90,
        hint: "As few as will do.",
      },
    ],
    send: (typed, once) =>
      send(
        {
          ...typed,
          domains: typed.domains
            .split(",")
            .map((one) => one.trim())
            .filter(Boolean),
        },
        once,
      ),
    then: (answer) => go(`/application/${answer.id}`),
  });
}

async function ownSteps(application) {
  const step =
    (name, more = {}) =>
    (once) =>
      post(
        `/applications/${application.id}/${name}`,
        { digest: application.digest, ...more },
        { once },
      );
  const { state, round } = application;
  const isOver = ["lapsed", "withdrawn"].includes(state) || (state === "rejected" && round > 1);
  return [
    h(
      "div",
      { class: "row" },
      state === "draft" ? action("Hand it in", step("submit"), { plain: false }) : null,
      isOver ? link(`/apply/${application.id}`, "Apply again, with what was written here") : null,
      state === "rejected" && round === 1
        ? action("Appeal", step("appeal"), {
            sure: "Appeal? You can do so once; other people judge then.",
          })
        : null,
      EDITED.includes(state)
        ? action("Withdraw", step("withdraw"), { danger: true, sure: "Give this application up?" })
        : null,
    ),
    state === "approved" ? await acceptance(application) : null,
    EDITED.includes(state)
      ? folded(
          "Edit",
          note("An edit makes it a draft again, and voids every review and approval."),
          content("edit", application, "Keep the edit", (given) =>
            call("PUT", `/applications/${application.id}`, {
              ...given,
              digest: application.digest,
            }),
          ),
        )
      : null,
  ];
}

async function acceptance(application) {
  const terms = inForce(await get("/terms"));
  if (!terms)
    return note("No terms of use have been published yet; your grants are made once they are.");
  const [, grants] = await own();
  const standing = grants.filter(
    (one) =>
      application.domains.includes(one.domain) &&
      !["revoked", "expired"].includes(grantState(one)[0]),
  );
  return [
    h("h3", {}, "Accept the terms of use"),
    standing.map((one) =>
      note(
        `Your grant for ${one.domain} is there until ${moment(one.expires_at)}; another one takes its place after that.`,
      ),
    ),
    h("pre", { tabindex: 0 }, terms.text),
    form({
      id: "acceptance",
      of: `${application.digest} ${terms.digest}`,
      submit: "Accept, and make my grants",
      fields: [
        {
          name: "accepted",
          type: "checkbox",
          required: true,
          label: "I have read these terms and accept them.",
        },
      ],
      send: (_, once) =>
        post(
          `/applications/${application.id}/grants`,
          { digest: application.digest, terms: terms.digest },
          { once },
        ),
    }),
  ];
}

async function judged(application) {
  const items = await get(`/evidence?person_id=${quote(application.person_id)}`);
  return [
    section("The applicant's evidence", evidenceTable(items)),
    judging(application),
    h("p", {}, link("/reviews", "All applications that wait")),
  ];
}

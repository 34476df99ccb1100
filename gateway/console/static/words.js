// How states, moments and kinds are said.

const MOMENT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

export const moment = (text) => (text ? MOMENT.format(new Date(text)) : null);
export const day = (text) => (text ? DAY.format(new Date(text)) : null);
export const spaced = (text) => text.replaceAll("_", " ");

/** The course of an application, as it goes when nothing goes wrong. */
export const COURSE = [
  "draft",
  "submitted",
  "identity_review",
  "domain_review",
  "approval",
  "approved",
  "granted",
];

const KINDS = {
  granted: "good",
  approved: "good",
  rejected: "bad",
  lapsed: "bad",
  withdrawn: "",
  draft: "",
  returned: "warn",
};
export const stateOf = (application) => [
  spaced(application.state),
  KINDS[application.state] ?? "warn",
];

export function grantState(grant, now = Date.now()) {
  if (grant.revoked_at) return ["revoked", "bad"];
  if (Date.parse(grant.expires_at) <= now) return ["expired", ""];
  if (grant.suspended_at) return ["suspended", "bad"];
  if (grant.usage_review_due_at && Date.parse(grant.usage_review_due_at) <= now)
    return ["review overdue", "bad"];
  if (Date.parse(grant.not_before) > now) return ["begins later", ""];
  return ["active", "good"];
}

export function evidenceState(item, now = Date.now()) {
  if (item.retracted_at) return ["retracted", "bad"];
  if (!item.accepted_at) return ["waits for a reviewer", "warn"];
  if (item.expires_at && Date.parse(item.expires_at) <= now) return ["lapsed", "bad"];
  return ["accepted", "good"];
}

export function keyState(key, now = Date.now()) {
  if (key.revoked_at && Date.parse(key.revoked_at) <= now) return ["revoked", "bad"];
  if (key.expires_at && Date.parse(key.expires_at) <= now) return ["expired", ""];
  if (key.replaced_by) return ["has a successor", "warn"];
  return ["works", "good"];
}

export const EVIDENCE = {
  id_check: "Identity check",
  federation: "Login by my institution",
  orcid: "ORCID record with my employment",
  referee: "A referee's word",
  training: "Training, for a domain",
  approval_letter: "Approval of a committee, for a domain",
};
export const EVIDENCE_OF_A_DOMAIN = ["training", "approval_letter"];
export const evidenceName = (kind) => EVIDENCE[kind] ?? spaced(kind);
/** Whose word counts for which evidence. */
export const COUNTS = {
  id_check: ["system", "dac"],
  federation: ["system"],
  institution_mail: ["system"],
  orcid: ["so"],
  referee: ["peer"],
  training: ["system", "so"],
  approval_letter: ["so"],
  affiliation_visa: ["system", "so"],
  researcher_visa: ["peer", "so"],
  access_visa: ["dac"],
};
export const ASSERTED_BY = {
  so: "the organisation (signing official)",
  system: "a system",
  peer: "a peer",
  dac: "an access committee",
  self: "only the applicant",
  unknown: "unknown",
};

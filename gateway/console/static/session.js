// Who is logged in, and how to log in, also more strongly.

import { ApiError, get, providers, quote, trust } from "./api.js";
import { dialog, h } from "./dom.js";
import { keepForms } from "./kept.js";

/** What the API says of whoever is logged in; null before that. */
export let me = null;

const LOGGED_OUT = ["invalid_session", "missing_api_key"];
const READERS = ["administrator", "operator", "auditor"];

export const isLoggedOut = (error) => error instanceof ApiError && LOGGED_OUT.includes(error.code);

/** Look who is logged in; null when nobody is. */
export async function look() {
  try {
    me = await get("/me");
  } catch (error) {
    if (!isLoggedOut(error)) throw error;
    me = null;
  }
  trust(me?.csrf_token ?? null);
  return me;
}

export const has = (...roles) => roles.some((role) => me.roles.includes(role));
export const reads = () => has(...READERS);
export const domainsReviewed = () =>
  me.roles.filter((role) => role.startsWith("domain_reviewer:")).map((role) => role.split(":")[1]);
/** Whether somebody has a duty beside asking for access. */
export const serves = () => me.roles.length > 0;
/** Whether somebody takes steps: an auditor changes nothing but their own keys, logins and address. */
export const acts = () => !has("auditor");
/** Whether somebody may restrict others' access alone. */
export const restricts = () => serves() && acts();
/** Whether somebody may open a domain, or every one (null), with another. */
export const opens = (domain) => has("approver") || domainsReviewed().includes(domain);

function address(provider, more = "") {
  const back = quote(location.pathname + location.hash);
  return `${provider.login}?return_to=${back}${more}`;
}

/** Return links to the providers, which lead back to the page that is open. */
export async function loginLinks(more = "", isFit = () => true) {
  const found = (await providers()).filter(isFit);
  if (!found.length)
    return [
      h(
        "p",
        {},
        "People do not log in here: no identity provider is set up. ",
        h("code", {}, "AIRLOCK_ISSUERS"),
        " names them.",
      ),
    ];
  return found.map((one) =>
    h(
      "p",
      {},
      h("a", { class: "button", href: address(one, more) }, `Log in by ${one.name}`),
      " ",
      h("span", { class: "quiet" }, new URL(one.issuer).host),
    ),
  );
}

/**
 * Do a change. A login in another tab has brought another token; where it is the same person's, the
 * change is sent again with that one.
 */
export async function asMyself(work) {
  try {
    return await work();
  } catch (error) {
    if (error.code !== "forged_request") throw error;
    const before = me?.person_id;
    await look();
    if (!me || me.person_id !== before)
      throw new ApiError(401, { message: "Somebody else has logged in.", code: LOGGED_OUT[0] });
    return await work();
  }
}

/** Ask for the fresh and strong login that a step takes; what was typed is there again afterwards. */
export async function askForStrongerLogin(error) {
  keepForms(me.person_id);
  const more = `&step_up=true${error.acr ? `&acr=${quote(error.acr)}` : ""}`;
  // By another provider one would be another person.
  const issuers = (await get("/me/sessions")).map((one) => one.issuer);
  dialog(
    "Log in again for this step",
    h(
      "p",
      {},
      "This step takes a login of the last minutes, with your second factor. You come back here, and what you have typed is kept.",
    ),
    ...(await loginLinks(more, (one) => issuers.includes(one.issuer))),
  );
}

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
export const reviews = () => has("identity_reviewer", "approver") || domainsReviewed().length > 0;
/** Whether somebody has a duty beside asking for access. */
export const serves = () => me.roles.length > 0;
/** Whether somebody may restrict others' access alone. */
export const restricts = () => serves() && !has("auditor");

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

/** Ask for the fresh and strong login that a step takes; what was typed is there again afterwards. */
export async function askForStrongerLogin(error) {
  keepForms();
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

// Asks the admin API, by the session of whoever is logged in.

const BASE = "/admin/v1";
let csrf = null;

/** What the API answers when it does not do what it was asked; `message` is for people. */
export class ApiError extends Error {
  constructor(status, { message, code }, headers = new Headers()) {
    const wait = status === 429 ? headers.get("retry-after") : null;
    super(wait ? `${message} Try again in ${wait} seconds.` : message);
    this.status = status;
    this.code = code;
    this.acr = /acr_values="([^" ]+)/.exec(headers.get("www-authenticate") ?? "")?.[1] ?? null;
  }
}

/** Say by which token changes are known to be ours. */
export function trust(token) {
  csrf = token;
}

/** Ask, and return the answer with its ETag. */
export async function exchange(method, path, body, { match, once, base = BASE } = {}) {
  const headers = { accept: "application/json" };
  if (body !== undefined) headers["content-type"] = "application/json";
  if (method !== "GET" && csrf) headers["x-csrf-token"] = csrf;
  if (match) headers["if-match"] = match;
  if (once) headers["idempotency-key"] = once;
  let answer, text;
  try {
    answer = await fetch(base + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      cache: "no-store",
      redirect: "error",
    });
    text = await answer.text();
  } catch {
    throw new ApiError(0, {
      message: "The gateway does not answer. Is the connection there? Try again.",
      code: "unreachable",
    });
  }
  let found = null;
  try {
    found = text ? JSON.parse(text) : null;
  } catch {
    throw new ApiError(answer.status, {
      message: `The answer could not be read (HTTP ${answer.status}).`,
    });
  }
  if (!answer.ok)
    throw new ApiError(
      answer.status,
      found?.error ?? { message: `HTTP ${answer.status}` },
      answer.headers,
    );
  return { found, tag: answer.headers.get("etag") };
}

/** Ask, and return the answer. */
export async function call(method, path, body, options) {
  return (await exchange(method, path, body, options)).found;
}

export const get = (path) => call("GET", path);
export const post = (path, body, options) => call("POST", path, body, options);
export const quote = encodeURIComponent;

/** The providers by which people log in. */
export const providers = () => call("GET", "/login", undefined, { base: "" });

export const logOut = () => call("POST", "/logout", undefined, { base: "" });

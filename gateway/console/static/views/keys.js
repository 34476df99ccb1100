// One's own keys, and one's logins.

import { call, get, post } from "../api.js";
import { badge, dialog, h, section, table } from "../dom.js";
import { action, form } from "../forms.js";
import { page, reload } from "../pages.js";
import { keyState, moment } from "../words.js";

page("keys", async () => {
  const [keys, sessions] = await Promise.all([get("/me/keys"), get("/me/sessions")]);
  return [
    h("h1", {}, "Your keys"),
    section(
      "Keys",
      table(
        "For programs that ask models in your name",
        ["Name", "For", "State", "Ends", "Last used", "Steps"],
        keys.map((key) => [
          key.label,
          key.kind === "workflow" ? "the workflow" : narrowed(key),
          badge(keyState(key)),
          moment(key.revoked_at ?? key.expires_at),
          moment(key.last_used_at) ?? "never",
          steps(key),
        ]),
      ),
    ),
    section(
      "Make a key",
      form({
        id: "make-key",
        submit: "Make a key",
        fields: [
          {
            name: "label",
            label: "Name",
            required: true,
            maxlength: 200,
            hint: "Where it will be used.",
          },
          {
            name: "days",
            label: "Days",
            type: "number",
            min: 1,
            max: 366,
            hint: "Empty: 90, but no longer than the first grant that it uses.",
          },
          {
            name: "public_only",
            type: "checkbox",
            label: "For the unlearned model alone: none of my grants count for it.",
          },
        ],
        send: ({ public_only, ...given }, once) =>
          post("/me/keys", public_only ? { ...given, domains: [] } : given, { once }),
        then: shown,
      }),
    ),
    section(
      "Your logins",
      table(
        "Browsers that are logged in as you",
        ["By", "Since", "Last seen", "Ends", "Steps"],
        sessions.map((one) => [
          one.issuer,
          moment(one.created_at),
          moment(one.seen_at),
          moment(one.expires_at),
          action("End", () => call("DELETE", `/me/sessions/${one.id}`), {
            danger: true,
            sure: "End this login?",
          }),
        ]),
      ),
    ),
  ];
});

function narrowed(key) {
  if (key.domains === null) return "every grant of yours";
  return key.domains.length ? `grants for ${key.domains.join(", ")}` : "the unlearned model";
}

function steps(key) {
  const [state] = keyState(key);
  if (["revoked", "expired"].includes(state)) return null;
  const rotate = (once) => post(`/me/keys/${key.id}/rotate`, { overlap_hours: 24 }, { once });
  return [
    key.replaced_by
      ? null
      : action("Rotate", rotate, {
          sure: "Make a successor? This key works for another day.",
          then: shown,
        }),
    action("Revoke", (once) => post(`/me/keys/${key.id}/revoke`, undefined, { once }), {
      danger: true,
      sure: `Revoke “${key.label}”, for ever? What uses it stops within a second.`,
    }),
  ];
}

async function shown(key) {
  await reload();
  const copy = h("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    const copied = navigator.clipboard.writeText(key.key);
    copy.textContent = await copied.then(
      () => "Copied",
      () => "Your browser does not let it be copied: mark it",
    );
  });
  dialog(
    "Your new key",
    h("p", {}, "It is shown this once. Keep it where secrets are kept; whoever has it is you."),
    h("pre", { id: "new-key", tabindex: 0 }, key.key),
    h("p", {}, copy),
  );
}

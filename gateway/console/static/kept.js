// Keeps what is typed in a form while its author logs in again, in this tab alone.

const KEY = "airlock.typed";
const fieldsOf = (form) => [...form.elements].filter((field) => field.name);

/** Keep what the open page's forms hold. */
export function keepForms() {
  const typed = {};
  for (const form of document.querySelectorAll("form[id]")) {
    typed[form.id] = fieldsOf(form).map((field) => [
      field.name,
      field.type === "checkbox" ? field.checked : field.value,
    ]);
  }
  sessionStorage.setItem(KEY, JSON.stringify({ hash: location.hash, typed }));
}

/** Put what was kept of this page back into its forms, once. */
export function restoreForms() {
  const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  sessionStorage.removeItem(KEY);
  if (kept?.hash !== location.hash) return;
  for (const [id, pairs] of Object.entries(kept.typed)) {
    const form = document.getElementById(id);
    for (const [name, value] of form ? pairs : []) {
      const field = form.elements[name];
      if (field?.type === "checkbox") field.checked = value;
      else if (field) field.value = value;
    }
    form?.closest("details")?.setAttribute("open", "");
  }
}

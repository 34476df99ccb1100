// Keeps what somebody has typed while a page is made anew, or while they log in again.

const KEY = "airlock.typed";

/** Whether a field holds another value than the page has put there. */
function isTyped(field) {
  if (field.type === "checkbox") return field.checked !== field.defaultChecked;
  if (field.type !== "select-one") return field.value !== field.defaultValue;
  const usual = [...field.options].findIndex((option) => option.defaultSelected);
  return field.selectedIndex !== Math.max(0, usual);
}

/** Return what is typed in the open page's forms; `of` is the version that a form is about. */
export function typedForms() {
  const forms = [...document.querySelectorAll("main form[id]")].map((form) => ({
    id: form.id,
    of: form.dataset.of ?? null,
    fields: [...form.elements]
      .filter((field) => field.name && isTyped(field))
      .map((field) => [field.name, field.type === "checkbox" ? field.checked : field.value]),
  }));
  return forms.filter((form) => form.fields.length);
}

/** Put it back; a word that was typed for another version is not said of this one. */
export function restoreForms(forms) {
  for (const { id, of, fields } of forms) {
    const form = document.getElementById(id);
    if (!form || (form.dataset.of ?? null) !== of) continue;
    for (const [name, value] of fields) {
      const field = form.elements[name];
      if (!field) continue;
      if (field.type === "checkbox") field.checked = value;
      else field.value = value;
      field.dispatchEvent(new Event("change"));
    }
    form.closest("details")?.setAttribute("open", "");
  }
}

/** Keep what a person has typed, in this tab alone, until they have logged in. */
export function keepForms(person) {
  const kept = { person, hash: location.hash, forms: typedForms() };
  sessionStorage.setItem(KEY, JSON.stringify(kept));
}

/** Return, once, what was kept of this page for this person. */
export function takeKept(person) {
  const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  forgetForms();
  return kept?.person === person && kept.hash === location.hash ? kept.forms : [];
}

export const forgetForms = () => sessionStorage.removeItem(KEY);

// The fields of the holes: which labels are to be scored there, and how many tokens there is room for.

import { element } from "./elements.js";
import { clear } from "./settings.js";

const CHOICES = { rows: 3, spellcheck: false, placeholder: "one per line, with its leading space; empty: most probable tokens" };
const MASKS = { type: "number", min: 1, max: 64, placeholder: "auto" };

export class Holes {
  #root;
  /** @type {Map<string, {fieldset: HTMLElement, choices: HTMLTextAreaElement, masks: HTMLInputElement}>} */
  #fields = new Map();
  #shown = [];

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
    root.addEventListener("input", ({ target }) => clear(target));
  }

  /** Shows the fields of these holes; what was typed for others stays, for a name that comes back.
   * @param {string[]} names
   */
  fit(names) {
    if (names.join("\n") === this.#shown.join("\n")) return;
    this.#shown = names;
    this.#root.replaceChildren(...names.map((name) => this.#of(name).fieldset));
  }

  /** What a request says of a hole.
   * @param {string} name
   */
  values(name) {
    const { choices, masks } = this.#of(name);
    const labels = choices.value.split("\n").filter(Boolean);
    return { ...(masks.value && { masks: Number(masks.value) }), ...(labels.length && { choices: labels }) };
  }

  /** What is in the fields that are shown, as it was typed, by `choices.` or `masks.` and a name. */
  raw() {
    return this.#shown.flatMap((name) => {
      const { choices, masks } = this.#of(name);
      return [[`choices.${name}`, choices.value], [`masks.${name}`, masks.value]];
    });
  }

  /** @param {Record<string, string>} raw what `raw` gave once */
  restore(raw) {
    for (const [key, value] of Object.entries(raw)) {
      const [, field, name] = key.match(/^(choices|masks)\.([^]*)$/) ?? [];
      if (field) this.#of(name)[field].value = value;
    }
  }

  /** @param {string} name @param {string} field @returns {HTMLElement | undefined} */
  input(name, field) {
    const fields = this.#of(name);
    return fields[field] ?? fields.choices;
  }

  #of(name) {
    if (!this.#fields.has(name)) this.#fields.set(name, this.#made(name, this.#fields.size));
    return this.#fields.get(name);
  }

  #made(name, number) {
    const choices = element("textarea", CHOICES);
    const masks = element("input", MASKS);
    const fields = Object.entries({ choices, masks }).map(([field, input]) => labelled(field, input, number));
    return { fieldset: element("fieldset", { className: "hole" }, element("legend", {}, name), ...fields), choices, masks };
  }
}

function labelled(field, input, number) {
  input.id = `hole${number}-${field}`;
  const complaint = element("p", { className: "complaint", id: `${input.id}-complaint` });
  input.setAttribute("aria-describedby", complaint.id);
  return element("div", { className: "field" }, element("label", { htmlFor: input.id }, field), input, complaint);
}

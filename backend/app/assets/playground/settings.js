// The parameters of one side, as fields: which there are, and their bounds and defaults, is up to the server.

import { constraintOf, kindChoice } from "./constraint.js";
import { element } from "./elements.js";

const NUMBERS = {
  max_length: "",
  steps: "auto",
  block_length: "auto",
  steps_per_block: "auto",
  sub_block_length: "auto",
  initial_masks: "auto",
  temperature: "",
  top_p: "",
  top_k: "",
  min_p: "off",
  repetition_penalty: "",
  frequency_penalty: "off",
  presence_penalty: "off",
  no_repeat_ngram_size: "off",
  confidence_threshold: "off",
  seed: "random",
};
const CONSTRAINT = ["constraint_kind", "constraint"];
const TEXTS = { stop: stops, logit_bias: biases };
const ESCAPES = { "\\n": "\n", "\\t": "\t", "\\\\": "\\" };

/** @typedef {import("./server.js").Model} Model */

export class Settings {
  /** @type {Record<string, HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement>} */
  #inputs = {};
  /** @type {Model[]} */
  models = [];

  /**
   * @param {string} side `a` or `b`
   * @param {HTMLElement} root
   */
  constructor(side, root) {
    this.side = side;
    this.root = root;
    root.addEventListener("input", ({ target }) => clear(target));
    this.#inputs.model_id = element("select");
    this.#inputs.decoding = element("select");
    for (const name of Object.keys(NUMBERS)) this.#inputs[name] = element("input", { type: "number", step: "any" });
    this.#inputs.stop = element("textarea", { rows: 2, placeholder: "one per line; \\n is a line break" });
    this.#inputs.logit_bias = element("textarea", { rows: 2, placeholder: "off; lines such as 198=-100" });
    this.#inputs.constraint_kind = kindChoice();
    this.#inputs.constraint = element("textarea", { rows: 3, placeholder: "off", spellcheck: false });
    for (const [name, input] of Object.entries(this.#inputs)) root.append(this.#field(name, input));
  }

  /** Takes over what the server says.
   * @param {{models: Model[], config: Record<string, any>, parameters: Record<string, any>}} facts
   */
  learn({ models, config, parameters }) {
    this.models = models;
    this.parameters = parameters;
    const presets = parameters.decoding.anyOf.find((arm) => arm.enum).enum;
    setChoices(this.#inputs.model_id, models.map(nameOf), config.default_model);
    setChoices(this.#inputs.decoding, presets.map((preset) => [preset, preset]), config.decoding);
    for (const [name, otherwise] of Object.entries(NUMBERS)) {
      this.#inputs[name].placeholder = config[name] ?? otherwise;
    }
    for (const [name, input] of Object.entries(this.#inputs)) input.title = parameters[name]?.description ?? "";
  }

  /** Whether the chosen model sees text behind a gap; one that is not loaded may not have said so yet. */
  get infills() {
    const model = this.#model;
    return !model?.is_available || model.capabilities.includes("infill");
  }

  /** Shows what the chosen model takes. */
  fit() {
    const model = this.#model;
    for (const name of Object.keys(NUMBERS)) {
      const isTaken = name === "seed" || !model?.is_available || !model.parameters || name in model.parameters;
      this.#inputs[name].closest(".field").hidden = !isTaken;
      this.#bound(name, boundsOf(name, model, this.parameters));
    }
    const obeys = !model?.is_available || model.capabilities.includes("constrain");
    for (const name of CONSTRAINT) this.#inputs[name].closest(".field").hidden = !obeys;
  }

  get #model() {
    return this.models.find(({ model_id }) => model_id === this.#inputs.model_id.value);
  }

  /** What is in the fields that are shown and not empty, as it was typed. */
  raw() {
    const shown = Object.entries(this.#inputs).filter(([, input]) => input.value && !input.closest(".field").hidden);
    const raw = Object.fromEntries(shown.map(([name, input]) => [name, input.value]));
    if (!raw.constraint) delete raw.constraint_kind;
    return raw;
  }

  /** The same, as the request takes it. */
  values() {
    const { constraint_kind: kind, constraint, ...raw } = this.raw();
    const typed = ([name, text]) => [name, name in NUMBERS ? Number(text) : (TEXTS[name]?.(text) ?? text)];
    const values = Object.fromEntries(Object.entries(raw).map(typed));
    return constraint ? { ...values, constraint: constraintOf(kind, constraint) } : values;
  }

  /** @param {Record<string, string>} raw what `raw` gave once; fields that it does not name become empty */
  restore(raw) {
    for (const [name, input] of Object.entries(this.#inputs)) {
      if (input instanceof HTMLSelectElement) this.#choose(input, raw[name]);
      else input.value = raw[name] ?? "";
      clear(input);
    }
  }

  /** Before the server has said which choices there are, any will do. */
  #choose(select, value) {
    if (value && !this.models.length) select.append(element("option", { value }, value));
    if ([...select.options].some((option) => option.value === value)) select.value = value;
  }

  #field(name, input) {
    input.id = `${this.side}-${name}`;
    const label = element("label", { htmlFor: input.id }, name);
    const bounds = element("span", { className: "bounds", id: `${input.id}-bounds` });
    const complaint = element("p", { className: "complaint", id: `${input.id}-complaint` });
    input.setAttribute("aria-describedby", `${bounds.id} ${complaint.id}`);
    return element("div", { className: "field" }, label, bounds, input, complaint);
  }

  #bound(name, [least, greatest]) {
    const input = this.#inputs[name];
    Object.assign(input, { min: least ?? "", max: greatest ?? "" });
    const isTelling = greatest !== undefined && greatest <= 1e6;
    input.closest(".field").querySelector(".bounds").textContent = isTelling ? `${least}–${greatest}` : "";
  }
}

/** Marks a field, and says why beside it.
 * @param {HTMLElement} input
 * @param {string} message
 */
export function complain(input, message) {
  input.setAttribute("aria-invalid", "true");
  document.querySelector(`#${input.id}-complaint`).textContent = message;
}

/** @param {HTMLElement} input */
export function clear(input) {
  if (input.getAttribute("aria-invalid")) complain(input, "");
  input.removeAttribute("aria-invalid");
}

/** A choice that the server does not have gives way to the default. */
function setChoices(select, names, otherwise) {
  const chosen = select.value;
  select.replaceChildren(...names.map(([value, label]) => element("option", { value }, label)));
  select.value = names.some(([value]) => value === chosen) ? chosen : otherwise;
}

const nameOf = ({ model_id, is_available }) => [model_id, is_available ? model_id : `${model_id} (not loaded)`];

function boundsOf(name, model, parameters) {
  const told = model?.parameters?.[name];
  if (told) return [told.minimum, told.maximum];
  const { minimum, exclusiveMinimum, maximum } = parameters[name].anyOf[0];
  return [minimum ?? exclusiveMinimum, name === "max_length" && model ? model.max_length : maximum];
}

function stops(text) {
  const unescaped = (line) => line.replace(/\\[nt\\]/g, (escape) => ESCAPES[escape]);
  return text.split("\n").filter(Boolean).map(unescaped);
}

/** Token ids and their biases. What is no number goes as it is, and the server says what is wrong. */
function biases(text) {
  const lines = text.split("\n").filter((line) => line.trim());
  return Object.fromEntries(lines.map((line) => line.split("=").map((part) => part.trim())).map(biasOf));
}

const biasOf = ([id, bias = ""]) => [id, bias === "" || Number.isNaN(Number(bias)) ? bias : Number(bias)];

// What the answer has to be, from what is typed in one field.

import { element } from "./elements.js";

const KINDS = { json_schema: "a JSON schema", regex: "a regular expression", choices: "choices, one per line" };

/** The choice of what the typed text is. */
export const kindChoice = () =>
  element("select", {}, ...Object.entries(KINDS).map(([value, label]) => element("option", { value }, label)));

/** The constraint as the request takes it. A schema that is no JSON goes as it is, and the server says what is wrong.
 * @param {string} kind
 * @param {string} text
 */
export function constraintOf(kind, text) {
  if (kind === "json_schema") return { json_schema: parsed(text) };
  return kind === "choices" ? { choices: text.split("\n").filter(Boolean) } : { regex: text };
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

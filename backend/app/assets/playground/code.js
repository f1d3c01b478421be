// The dialog that shows a request as code, and copying.

import { announce } from "./page.js";
import { asCurl, asPython } from "./snippets.js";

const FEEDBACK_MS = 1500;
const $ = (/** @type {string} */ selector) => document.querySelector(selector);

/** @param {HTMLElement} button says for a moment whether it has worked @param {string} text */
export async function copy(button, text) {
  button.dataset.label ??= button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Select it and copy"; // browsers let no page copy that came over plain HTTP
  }
  announce(button.textContent);
  setTimeout(() => (button.textContent = button.dataset.label), FEEDBACK_MS);
}

/** @param {import("./snippets.js").Mode} mode @param {object} body */
export function showCode(mode, body) {
  $("#curl").textContent = asCurl(mode, body);
  $("#python").textContent = asPython(mode, body);
  $("#code").showModal();
}

export function openCodeDialog() {
  for (const name of ["curl", "python"]) {
    $(`#copy-${name}`).addEventListener("click", ({ target }) => copy(target, $(`#${name}`).textContent));
  }
  $("#close-code").addEventListener("click", () => $("#code").close());
}

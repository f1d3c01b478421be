// What all pages have: a message, the key that the server may ask for, and a voice for those who do not see the page.

import { key, loadFacts } from "./server.js";

const $ = (/** @type {string} */ selector) => document.querySelector(selector);

/** @param {string} sentence */
export function announce(sentence) {
  $("#announcer").textContent = sentence;
}

/** @param {string} message empty where there is nothing to say */
function showMessage(message) {
  $("#message").textContent = message;
  $("#message").hidden = !message;
}

/** What the server knows; null where it does not say, and the page says why. */
export async function learnFacts() {
  try {
    const facts = await loadFacts();
    showMessage(facts.config.enabled ? "" : "This server is switched off for now, and refuses requests (503).");
    return facts;
  } catch (problem) {
    showMessage(problem.message);
    if (problem.status === 401) askForKey();
    return null;
  }
}

export function askForKey() {
  $("#key-form").hidden = false;
  $("#key").focus();
}

/** @param {() => void} listener called when the reader has given a key */
export function onKey(listener) {
  $("#key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key.set($("#key").value.trim());
    $("#key").value = "";
    $("#key-form").hidden = true;
    listener();
  });
}

/** Ctrl+Enter sends the form, Esc stops what runs.
 * @param {HTMLFormElement} form
 * @param {() => void} stop
 */
export function addShortcuts(form, stop) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") stop();
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault(); // some fields would submit the form once more
    form.requestSubmit();
  });
}

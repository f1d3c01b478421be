// The page that reads: a text with holes, and what the model holds probable there.

import { barsOf, bestOf, drawnHole, percent, visible } from "./bars.js";
import { openCodeDialog, showCode } from "./code.js";
import { element } from "./elements.js";
import { Holes } from "./holes.js";
import { addShortcuts, announce, askForKey, learnFacts, onKey } from "./page.js";
import { Problem, answer } from "./server.js";
import { clear, complain } from "./settings.js";
import { levelOf } from "./sheet.js";
import { namesIn, newName, partsOf } from "./template.js";
import { addThemeButton } from "./theme.js";

const FIELDS = ["text", "model_id", "top"];
const EXAMPLE = {
  text: "Once upon a time, there was a little{{who}} who lived in a big{{where}}.",
  model_id: "llada",
  "choices.who": " girl\n boy\n frog\n dragon",
};

const $ = (/** @type {string} */ selector) => document.querySelector(selector);
const form = $("#ask");
const text = $("#text");
const holes = new Holes($("#holes"));
let isReady = false;
/** @type {AbortController | null} of the request that runs */
let running = null;

// -- what is asked ----------------------------------------------------------------------------------------------------

function bodyOf() {
  const parts = partsOf(text.value).map((part) => (part.hole ? { ...part, ...holes.values(part.hole) } : part.text));
  const top = $("#top").value;
  return { model_id: $("#model_id").value, parts, ...(top && { top: Number(top) }) };
}

function restore(raw) {
  text.value = raw.text ?? "";
  $("#top").value = raw.top ?? "";
  choose(raw.model_id);
  holes.restore(raw);
  arrange();
}

/** Before the server has said which models there are, any will do. */
function choose(model) {
  const select = $("#model_id");
  if (model && !isReady) select.append(element("option", { value: model }, model));
  if ([...select.options].some(({ value }) => value === model)) select.value = model;
}

function readAddress() {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  return Object.keys(given).length ? given : EXAMPLE;
}

function writeAddress() {
  const entries = [...FIELDS.map((name) => [name, $(`#${name}`).value]), ...holes.raw()];
  history.replaceState(null, "", `#${new URLSearchParams(entries.filter(([, value]) => value))}`);
}

/** Shows the fields of the holes, and the text as nobody has read it yet. */
function arrange() {
  holes.fit(namesIn(text.value));
  draw(null);
}

// -- asking -----------------------------------------------------------------------------------------------------------

async function ask() {
  running?.abort();
  for (const input of form.querySelectorAll("[aria-invalid]")) clear(input);
  writeAddress();
  const mine = (running = new AbortController());
  const body = bodyOf();
  tell("reading");
  announce("Reading has begun.");
  if (matchMedia("(max-width: 60rem)").matches) $("#stage").scrollIntoView();
  try {
    show(await answer("read", body, mine.signal), body);
  } catch (error) {
    if (mine === running) explain(error, body);
  }
  if (mine === running) stop();
}

function stop() {
  running?.abort();
  running = null;
  $("#stop").disabled = true;
}

function show({ holes: found, model_id: model, processing_time: seconds, metadata }, body) {
  tell("complete");
  draw(found);
  const passes = metadata.forward_passes === 1 ? "1 forward pass" : `${metadata.forward_passes} forward passes`;
  $("#facts").textContent = `${passes}, ${seconds.toFixed(2)} s, ${model} on ${metadata.device}`;
  say(".notice", model === body.model_id ? "" : `${body.model_id} cannot be had now; ${model} answers instead.`);
  const best = Object.entries(found).map(([name, hole]) => `${name}: ${barsOf(hole).map(summaryOf).join(", ")}`);
  announce(`Read in ${passes}. ${best.join("; ")}.`);
}

function summaryOf(bars) {
  const { label, share } = bestOf(bars);
  return `${label.trim() || "a space"} ${percent(share)}`;
}

/** Leads the reader to what has to change. */
function explain(error, { parts }) {
  if (error.name === "AbortError") return tell("stopped");
  const problem = error instanceof Problem ? error : new Problem({ title: "The page failed", detail: String(error) });
  tell("failed", problem.message);
  announce(`Reading failed. ${problem.message}`);
  if (problem.status === 401) askForKey();
  for (const { field, message } of problem.errors) {
    const [, index, name] = field.match(/^parts\[(\d+)\](?:\.(\w+))?/) ?? [];
    const { hole } = parts[index] ?? {};
    complain(hole ? holes.input(hole, name) : ($(`#${field}`) ?? text), message);
  }
  form.querySelector("[aria-invalid]")?.focus();
}

// -- what is seen -----------------------------------------------------------------------------------------------------

/** @param {Record<string, import("./bars.js").Hole> | null} found null before it was read */
function draw(found) {
  const parts = partsOf(text.value);
  $(".paper").replaceChildren(...parts.map((part) => part.text ?? cellsOf(part.hole, found?.[part.hole])));
  $("#readings").replaceChildren(...Object.entries(found ?? {}).map(([name, hole]) => drawnHole(name, hole)));
  if (!found) {
    tell("idle");
    $("#facts").textContent = "";
  }
}

function cellsOf(name, hole) {
  if (!hole) return element("span", { className: "cell open-hole", title: "not read yet" }, name);
  const best = barsOf(hole).map(bestOf);
  return element("span", {}, ...best.map((bar) => cellOf(name, bar)));
}

function cellOf(name, { label, share }) {
  const cell = element("span", { className: `cell text level-${levelOf(share)}`, title: `${name}: ${percent(share)}` }, visible(label));
  cell.style.setProperty("--confidence", String(share));
  return cell;
}

function tell(status, problem = "") {
  $(".sheet").dataset.status = status === "reading" ? "denoising" : status;
  $(".state").textContent = status === "idle" ? "not read yet" : status;
  $("#stop").disabled = status !== "reading";
  say(".problem", problem);
}

function say(selector, sentence) {
  $(selector).textContent = sentence;
  $(selector).hidden = !sentence;
}

// -- the server and the reader ----------------------------------------------------------------------------------------

async function learn() {
  const facts = await learnFacts();
  if (!facts) return;
  const able = facts.models.filter(({ is_available, capabilities }) => !is_available || capabilities.includes("read"));
  const select = $("#model_id");
  const wanted = select.value;
  select.replaceChildren(...able.map(({ model_id }) => element("option", { value: model_id }, model_id)));
  isReady = true;
  choose(facts.config.default_model);
  choose(wanted);
  $("#run").disabled = false;
}

$("#add").addEventListener("click", () => {
  text.setRangeText(`{{${newName(text.value)}}}`, text.selectionStart, text.selectionEnd, "end");
  text.focus();
  arrange();
});
form.addEventListener("input", ({ target }) => {
  clear(target);
  arrange();
});
form.addEventListener("change", () => isReady && writeAddress());
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (isReady) ask();
});
$("#stop").addEventListener("click", () => {
  stop();
  $("#run").focus();
});
$("#show-code").addEventListener("click", () => showCode("read", bodyOf()));
addShortcuts(form, stop);
onKey(() => isReady || learn());
openCodeDialog();
addEventListener("hashchange", () => restore(readAddress()));
addThemeButton($("#theme"));
restore(readAddress());
learn();

// The page: who speaks to whom.

import { readAddress, writeAddress } from "./address.js";
import { copy, openCodeDialog, showCode } from "./code.js";
import { blank } from "./frames.js";
import { showNumbers, summaryOf } from "./numbers.js";
import { addShortcuts, announce, askForKey, learnFacts, onKey } from "./page.js";
import { Player } from "./player.js";
import { Run } from "./run.js";
import { Settings, clear, complain } from "./settings.js";
import { Sheet } from "./sheet.js";
import { addThemeButton } from "./theme.js";

const TEXTS = { generate: ["text"], infill: ["prefix", "suffix"] };
const MASKS_OF_A_PREVIEW = { generate: 48, infill: 8 };
const MOST_MASKS_OF_A_PREVIEW = 256;
const EXAMPLE = {
  mode: "infill",
  compare: "",
  text: "Once upon a time, there was a little",
  prefix: "def __init__(self, name, value):\n    self.name = name\n    ",
  suffix: "\n    self._items = []\n",
  a: { model_id: "dreamon", max_length: "24", initial_masks: "3", temperature: "0" },
  b: {},
};

const $ = (/** @type {string} */ selector) => document.querySelector(selector);
const form = $("#ask");

const sides = ["a", "b"].map((side) => {
  const name = side.toUpperCase();
  return { name, settings: new Settings(side, $(`#settings-${side}`)), sheet: new Sheet(name), run: null };
});
const [sideA, sideB] = sides;
const compared = () => form.elements.compare.value;
const shownSides = () => (compared() ? sides : [sideA]);
const asked = () => shownSides().filter(({ run }) => run);
const runs = () => asked().map(({ run }) => run);
const mode = () => form.elements.mode.value;
const player = new Player(
  () => ({ lastPass: Math.max(...runs().map((run) => run.lastPass), 0), isLive: runs().some((run) => !run.isOver) }),
  draw,
);
let isReady = false;
/** A model that is not loaded yet has not said what it takes. */
let isComplete = false;

// -- what is asked ----------------------------------------------------------------------------------------------------

const texts = () => Object.fromEntries(TEXTS[mode()].map((name) => [name, $(`#${name}`).value]));

const bodyOf = (settings) => ({ ...texts(), ...settings.values() });

function currentState() {
  return { mode: mode(), compare: compared(), ...texts(), a: sideA.settings.raw(), b: sideB.settings.raw() };
}

function restore(state) {
  form.elements.mode.value = state.mode === "generate" ? "generate" : "infill";
  form.elements.compare.value = ["after", "together"].includes(state.compare) ? state.compare : "";
  for (const name of Object.values(TEXTS).flat()) $(`#${name}`).value = state[name] || "";
  sideA.settings.restore(state.a);
  sideB.settings.restore(state.b);
  arrange();
}

/** Shows what belongs to the chosen mode, models and comparison. */
function arrange() {
  const infills = shownSides().every(({ settings }) => settings.infills);
  $("#task").hidden = !infills;
  if (!infills) form.elements.mode.value = "generate";
  for (const [name, fields] of Object.entries(TEXTS)) {
    for (const field of fields) $(`#${field}`).closest(".field").hidden = name !== mode();
  }
  const isComparing = Boolean(compared());
  document.body.classList.toggle("compares", isComparing);
  $("#sides").hidden = !isComparing;
  $("#settings-a").hidden = isComparing && form.elements.side.value !== "a";
  $("#settings-b").hidden = !isComparing || form.elements.side.value !== "b";
  sideB.sheet.isHidden = !isComparing;
  if (isReady) for (const { settings } of sides) settings.fit();
  for (const { run, settings, sheet } of sides) if (!run) preview(sheet, bodyOf(settings));
}

/** The canvas before its first pass, as far as the page can tell. */
function preview(sheet, { text, prefix, suffix = "", initial_masks, max_length = Infinity }) {
  sheet.setGiven(text ?? prefix, suffix);
  sheet.draw(blank(Math.min(initial_masks ?? MASKS_OF_A_PREVIEW[mode()], max_length, MOST_MASKS_OF_A_PREVIEW)));
}

// -- asking -----------------------------------------------------------------------------------------------------------

async function ask() {
  stop();
  for (const input of form.querySelectorAll("[aria-invalid]")) clear(input);
  writeAddress(currentState());
  sides.forEach((side) => (side.run = null));
  const asking = shownSides().map(begin);
  announce("Denoising has begun.");
  player.follow();
  $("#stop").disabled = false;
  if (matchMedia("(max-width: 60rem)").matches) $("#stage").scrollIntoView();
  if (compared() === "together") await Promise.all(asking.map(follow));
  else for (const one of asking) await follow(one);
  $("#stop").disabled = runs().every((run) => run.isOver);
  if (!isComplete) await learn();
}

/** A run of its own for what is asked now: the side may be asked again before it is over. */
function begin(side) {
  const body = bodyOf(side.settings);
  side.run = new Run(mode(), body);
  preview(side.sheet, body);
  side.sheet.reveal();
  return { side, run: side.run };
}

async function follow({ side, run }) {
  await run.follow();
  if (side.run !== run) return;
  announce(summaryOf(compared() ? `Canvas ${side.name}` : "The canvas", run));
  if (run.problem) explain(side, run.problem);
}

/** Leads the reader to what has to change. */
function explain({ settings }, { status, errors }) {
  if (status === 401) askForKey();
  for (const { field, message } of errors) {
    const name = field.split(/[[.]/)[0];
    const input = form.elements[`${settings.side}-${name}`] ?? form.elements[name];
    if (input) complain(input, message);
  }
  form.elements.side.value = settings.side;
  arrange();
  form.querySelector("[aria-invalid]")?.focus();
}

function stop() {
  for (const { run } of sides) run?.stop();
}

function draw() {
  for (const { run, sheet } of sides) {
    sheet.tell(run);
    const frame = run?.frameAt(player.pass);
    if (frame) sheet.draw(frame);
  }
  showNumbers($("#numbers"), asked());
}

// -- the server -------------------------------------------------------------------------------------------------------

async function learn() {
  const facts = await learnFacts();
  if (!facts) return;
  for (const { settings } of sides) settings.learn(facts);
  isReady = true;
  isComplete = facts.models.every((model) => model.is_available);
  $("#run").disabled = false;
  arrange();
}

// -- the reader -------------------------------------------------------------------------------------------------------

function onInput({ target }) {
  clear(target);
  if (target.name === "compare" && compared() && !sideB.run) {
    sideB.settings.restore({ ...sideA.settings.raw(), decoding: "fast" });
  }
  arrange();
}

for (const side of sides) {
  side.sheet.on("copy-text", ({ target }) => copy(target, side.run.text));
  side.sheet.on("keep-seed", () => side.settings.restore({ ...side.settings.raw(), seed: String(side.run.facts.seed) }));
  side.sheet.on("show-code", () => showCode(mode(), bodyOf(side.settings)));
}
form.addEventListener("input", onInput);
form.addEventListener("change", () => isReady && writeAddress(currentState()));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (isReady) ask();
});
$("#stop").addEventListener("click", () => {
  stop();
  $("#run").focus();
});
$("#with-numbers").addEventListener("input", ({ target }) => document.body.classList.toggle("numbered", target.checked));
addShortcuts(form, stop);
onKey(() => isReady || learn());
openCodeDialog();
addEventListener("hashchange", () => restore(readAddress() ?? EXAMPLE));
addThemeButton($("#theme"));
restore(readAddress() ?? EXAMPLE);
learn();

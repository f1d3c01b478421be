// What was read: for each hole its labels, or the most probable tokens, as bars.

import { element } from "./elements.js";

const SMALL_MASS = 0.1;
const SIGNS = { " ": "␣", "\n": "↵", "\t": "⇥" };
const NOTES = {
  small: "The model would rather have written something else; the shares are the shape of a tail.",
  none: "These labels differ in their number of tokens, so they share no distribution: compare them with care.",
};

/**
 * @typedef {{masks: number, method: string, log_mass: number | null, choices?: {text: string, logprob: number}[],
 *   tokens?: {token: string, logprob: number}[][]}} Hole
 * @typedef {{label: string, share: number}} Bar
 */

/** The bars of one hole, or of each of its masks. The shares of labels are those among the labels.
 * @param {Hole} hole
 * @returns {Bar[][]}
 */
export function barsOf({ choices, tokens }) {
  if (!choices) return tokens.map(barsOfMask);
  const greatest = Math.max(...choices.map(({ logprob }) => logprob));
  const weights = choices.map(({ logprob }) => Math.exp(logprob - greatest));
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return [choices.map(({ text }, index) => ({ label: text, share: weights[index] / sum }))];
}

const barsOfMask = (tokens) => tokens.map(({ token, logprob }) => ({ label: token, share: Math.exp(logprob) }));

/** The bar that is longest.
 * @param {Bar[]} bars
 */
export const bestOf = (bars) => bars.reduce((best, bar) => (bar.share > best.share ? bar : best));

/** @param {number} share from 0 to 1 */
export function percent(share) {
  return `${share >= 0.0995 ? (100 * share).toFixed(1) : Number((100 * share).toPrecision(2))} %`;
}

/** @param {string} name @param {Hole} hole */
export function drawnHole(name, hole) {
  const sets = barsOf(hole);
  const caption = (index) => (sets.length > 1 ? `${name}, mask ${index + 1} of ${sets.length}` : name);
  const tables = sets.map((bars, index) => tableOf(caption(index), bars, Boolean(hole.choices)));
  return element("section", { className: "reading" }, ...tables, ...(hole.choices ? massOf(hole) : []));
}

function tableOf(caption, bars, isOfLabels) {
  const best = bestOf(bars);
  const titles = [isOfLabels ? "label" : "token", isOfLabels ? "share of the labels" : "probability"];
  const heads = titles.map((title) => element("th", { scope: "col", className: "for-listeners" }, title));
  const rows = bars.map((bar) => rowOf(bar, bar === best));
  return element("table", { className: "bars" }, element("caption", {}, caption), element("tr", {}, ...heads), ...rows);
}

function rowOf({ label, share }, isBest) {
  const row = element("tr", { className: isBest ? "best" : "" });
  row.append(element("th", { scope: "row", title: label }, visible(label)), element("td", {}, percent(share), barOf(share)));
  return row;
}

function barOf(share) {
  const bar = element("span", { className: "bar", ariaHidden: "true" });
  bar.style.setProperty("--share", String(share));
  return bar;
}

function massOf({ log_mass: logMass }) {
  if (logMass === null) return [element("p", { className: "mass" }, NOTES.none)];
  const mass = Math.exp(logMass);
  const line = element("p", { className: "mass" }, "label mass ", element("b", {}, percent(mass)), barOf(mass));
  return mass < SMALL_MASS ? [line, element("p", { className: "mass" }, NOTES.small)] : [line];
}

/** White space at the ends of a label is part of it, and has to be seen.
 * @param {string} text
 */
export const visible = (text) => text.replace(/^\s+|\s+$|[\n\t]/g, (space) => space.replace(/[ \n\t]/g, (sign) => SIGNS[sign]));

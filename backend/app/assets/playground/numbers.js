// What came of each side, one row each, so that two can be compared.

import { element } from "./elements.js";

const ENDS = { stopped: "you", failed: "an error" };

/** @param {import("./run.js").Run} run */
function numbersOf(run) {
  const { facts, frames } = run;
  const written = frames.at(-1)?.cells.filter(({ kind }) => kind === "text").length ?? 0;
  return {
    "forward passes": facts.denoising_steps ?? run.lastPass,
    tokens: facts.tokens_generated ?? written,
    "tokens / s": facts.tokens_per_second?.toFixed(1) ?? "",
    seconds: (facts.processing_time ?? run.elapsedS).toFixed(2),
    "ended by": ENDS[run.status] ?? facts.finish_reason ?? "",
    "answered by": [facts.model_id, facts.device].filter(Boolean).join(", "),
    seed: facts.seed ?? "",
  };
}

/**
 * @param {HTMLTableElement} table
 * @param {{name: string, run: import("./run.js").Run}[]} sides those that were asked
 */
export function showNumbers(table, sides) {
  table.hidden = !sides.length;
  if (table.hidden) return;
  const rows = sides.map(({ name, run }) => ({ name, numbers: numbersOf(run) }));
  const heads = Object.keys(rows[0].numbers).map((title) => element("th", { scope: "col" }, title));
  const head = element("tr", {}, element("td", { className: "corner" }), ...heads);
  table.replaceChildren(head, ...rows.map(rowOf));
}

function rowOf({ name, numbers }) {
  const cells = Object.values(numbers).map((value) => element("td", {}, String(value)));
  return element("tr", {}, element("th", { scope: "row" }, name), ...cells);
}

/** A sentence for those who do not see the canvas.
 * @param {string} name
 * @param {import("./run.js").Run} run
 */
export function summaryOf(name, run) {
  if (run.status === "failed") return `${name} failed. ${run.problem.message}`;
  if (run.status === "stopped") return `${name} was stopped.`;
  const { tokens, "forward passes": passes, seconds } = numbersOf(run);
  const forced = run.frames.at(-1)?.cells.filter(({ isForced }) => isForced).length;
  const ofThem = forced ? ` The constraint forced ${forced} of what stands there.` : "";
  return `${name} is complete: ${tokens} tokens in ${passes} forward passes and ${seconds} seconds.${ofThem}`;
}

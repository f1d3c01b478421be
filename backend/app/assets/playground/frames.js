// From `step` events to the frames that are drawn. A frame is the canvas after one forward pass; its cells are shared
// with the frame before wherever nothing has changed, so that thousands of frames can be kept for the replay.

/**
 * @typedef {{kind: "mask" | "text" | "deleted", text: string, confidence: number | null, pass: number,
 *   isForced?: boolean}} Cell
 *   `pass`: when it became what it is. `confidence`: null where the step that wrote it was not seen. `isForced`: the
 *   constraint left no other token.
 * @typedef {{pass: number, cells: Cell[]}} Frame
 * @typedef {{canvas: (string | null)[], committed: {index: number, text: string, confidence: number}[],
 *   expanded: number[], deleted: number[], revoked?: number[], forced?: number[], nfe: number}} Step
 */

/** @returns {Cell} */
const mask = (pass = 0) => ({ kind: "mask", text: "", confidence: null, pass });

/** @param {number} length @returns {Frame} */
export const blank = (length) => ({ pass: 0, cells: Array.from({ length }, () => mask()) });

/** The frame before the first step.
 * @param {Step} step
 */
export const frameBefore = (step) => blank(step.canvas.length - step.expanded.length + step.deleted.length);

/** The frame after a step.
 * @param {Frame} previous
 * @param {Step} step
 * @returns {Frame}
 */
export function frameAfter(previous, step) {
  const before = previous.cells.filter(isThere);
  const cells = carriedOut(before, step);
  return { pass: step.nfe, cells: isCanvas(cells, step.canvas) ? cells : recognised(before, step.canvas) };
}

const isThere = (cell) => cell.kind !== "deleted";

/** Indices count in the canvas before the expansions and deletions of the same step. */
function carriedOut(before, { committed, expanded, deleted, revoked = [], forced = [], nfe }) {
  const commits = new Map(committed.map((commit) => [commit.index, commit]));
  return before.flatMap((cell, index) => {
    const commit = commits.get(index);
    if (deleted.includes(index)) return [{ ...mask(nfe), kind: "deleted" }];
    if (expanded.includes(index)) return [mask(nfe), mask(nfe)];
    if (revoked.includes(index)) return [mask(nfe)];
    return [commit ? written(commit, forced.includes(index), nfe) : cell];
  });
}

/** @returns {Cell} */
const written = ({ text, confidence }, isForced, pass) => ({ kind: "text", text, confidence, pass, isForced });

function isCanvas(cells, canvas) {
  const there = cells.filter(isThere);
  return there.length === canvas.length && there.every((cell, index) => isAt(cell, canvas[index]));
}

const isAt = (cell, text) => (text === null ? cell?.kind === "mask" : cell?.kind === "text" && cell.text === text);

/** A slow reader misses steps: what stood at the same place, counted from either end, is the same cell still. */
function recognised(before, canvas) {
  const shift = before.length - canvas.length;
  return canvas.map((text, index) => {
    const known = [before[index], before[index + shift]].find((cell) => isAt(cell, text));
    return known ?? (text === null ? mask() : { kind: "text", text, confidence: null, pass: 0 });
  });
}

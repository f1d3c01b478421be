// A text with holes as it is typed, `She was {{mood}}.`, and as the request takes it.

const HOLE = /\{\{([^{}\n]{1,64})\}\}/;

/** @typedef {{text: string} | {hole: string}} Part */

/** Texts and holes in turn.
 * @param {string} typed
 * @returns {Part[]}
 */
export function partsOf(typed) {
  const pieces = typed.split(HOLE); // every other piece is what the parentheses hold: a name
  return pieces.map((piece, index) => (index % 2 ? { hole: piece } : { text: piece })).filter((part) => part.text !== "");
}

/** The names of the holes, each once.
 * @param {string} typed
 */
export const namesIn = (typed) => [...new Set(partsOf(typed).flatMap(({ hole }) => hole ?? []))];

/** The name of a further hole.
 * @param {string} typed
 */
export function newName(typed) {
  const names = namesIn(typed);
  let number = names.length + 1;
  while (names.includes(`hole${number}`)) number += 1;
  return `hole${number}`;
}

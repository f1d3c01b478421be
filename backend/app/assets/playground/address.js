// The settings in the address, so that they can be shared: what is in the fields, and nothing else.

/**
 * @typedef {{mode: string, compare: string, text: string, prefix: string, suffix: string,
 *   a: Record<string, string>, b: Record<string, string>}} State
 *   `compare`: empty, `after` or `together`.
 */

const TOP = ["mode", "compare", "text", "prefix", "suffix"];
const B = "b.";

/** @param {State} state */
export function writeAddress(state) {
  const entries = [
    ...TOP.map((name) => [name, state[name]]),
    ...Object.entries(state.a),
    ...(state.compare ? Object.entries(state.b).map(([name, value]) => [B + name, value]) : []),
  ];
  history.replaceState(null, "", `#${new URLSearchParams(entries.filter(([, value]) => value))}`);
}

/** @returns {State | null} null where the address says nothing */
export function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  if (!given.size) return null;
  const state = { ...Object.fromEntries(TOP.map((name) => [name, given.get(name) ?? ""])), a: {}, b: {} };
  for (const [name, value] of given) {
    if (name.startsWith(B)) state.b[name.slice(B.length)] = value;
    else if (!TOP.includes(name)) state.a[name] = value;
  }
  return state;
}

// The same request from elsewhere.

import { addressOf, key } from "./server.js";

const PYTHON = { true: "True", false: "False", null: "None" };
const MARK = "\0";
const ANSWER_FIELDS = { generate: "generated_text", infill: "infilled_text", read: "holes" };

/** @typedef {"generate" | "infill" | "read"} Mode */

/** For a shell.
 * @param {Mode} mode
 * @param {object} body
 */
export function asCurl(mode, body) {
  const lines = [
    `curl ${addressOf(mode)}`,
    "-H 'Content-Type: application/json'",
    ...(key.get() ? ['-H "X-API-Key: $API_KEY"'] : []),
    `-d ${quoted(JSON.stringify(body))}`,
  ];
  return lines.join(" \\\n  ");
}

/** For Python, with `requests`.
 * @param {Mode} mode
 * @param {object} body
 */
export function asPython(mode, body) {
  const isKeyed = Boolean(key.get());
  return [
    ...(isKeyed ? ["import os", ""] : []),
    "import requests",
    "",
    "response = requests.post(",
    `    ${JSON.stringify(addressOf(mode))},`,
    `    json=${asLiteral(body).replaceAll("\n", "\n    ")},`,
    ...(isKeyed ? ['    headers={"X-API-Key": os.environ["API_KEY"]},'] : []),
    ")",
    "response.raise_for_status()",
    `print(response.json()["${ANSWER_FIELDS[mode]}"])`,
  ].join("\n");
}

/** JSON as Python reads it: all is the same there but for three words. */
function asLiteral(body) {
  const marked = (_, value) => (value === null || typeof value === "boolean" ? MARK + PYTHON[String(value)] : value);
  return JSON.stringify(body, marked, 4).replaceAll(/"\\u0000(True|False|None)"/g, "$1");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

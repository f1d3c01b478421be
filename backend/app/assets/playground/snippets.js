// The same request from elsewhere.

import { addressOf, key } from "./server.js";

const TEXT_FIELDS = { generate: "generated_text", infill: "infilled_text" };

/** For a shell.
 * @param {"generate" | "infill"} mode
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

/** For Python, with `requests`. A body of strings, numbers and lists reads the same there as in JSON.
 * @param {"generate" | "infill"} mode
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
    `    json=${JSON.stringify(body, null, 4).replaceAll("\n", "\n    ")},`,
    ...(isKeyed ? ['    headers={"X-API-Key": os.environ["API_KEY"]},'] : []),
    ")",
    "response.raise_for_status()",
    `print(response.json()["${TEXT_FIELDS[mode]}"])`,
  ].join("\n");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

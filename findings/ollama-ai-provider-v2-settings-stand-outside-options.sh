#!/usr/bin/env bash
# ollama-ai-provider-v2 3.6.0 with ai 6.0.326 (Node).
# Guess: `maxOutputTokens`, `temperature` and `topP` of `generateText` arrive at Ollama's API as `options.num_predict`,
#   `options.temperature` and `options.top_p`, where that API reads them.
# Instead: they are sent beside `options`, the first as `max_output_tokens`, a name that Ollama's API does not have. The
#   provider warns of `seed`, which it does not send, and not of these.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && npm install --silent --legacy-peer-deps ai@6.0.326 ollama-ai-provider-v2@3.6.0 zod@4.6.7 >/dev/null) || exit 2

cat >"$folder/ask.mjs" <<'NODE'
import { generateText } from "ai";
import { createOllama } from "ollama-ai-provider-v2";

globalThis.AI_SDK_LOG_WARNINGS = false;
let sent;
async function fetch(url, { body }) {
  sent = JSON.parse(body);
  const answer = { model: "any", created_at: "2026-11-29T00:00:00Z", message: { role: "assistant", content: "ok" } };
  const counts = { done: true, done_reason: "stop", prompt_eval_count: 1, eval_count: 1, total_duration: 1 };
  const durations = { load_duration: 0, prompt_eval_duration: 0, eval_duration: 1 };
  const headers = { "Content-Type": "application/json" };
  return new Response(JSON.stringify({ ...answer, ...counts, ...durations }), { headers });
}

const provider = createOllama({ baseURL: "http://127.0.0.1/api", fetch });
const settings = { maxOutputTokens: 12, temperature: 0.5, topP: 0.9, seed: 1 };
const { warnings } = await generateText({ model: provider("any"), prompt: "Hi", ...settings });
const told = (warnings ?? []).map((warning) => warning.details ?? warning.setting ?? warning.feature);
const { options, max_output_tokens, temperature, top_p } = sent;
console.log("version:  ollama-ai-provider-v2 3.6.0, ai 6.0.326");
console.log('expected: {"options":{"num_predict":12,"temperature":0.5,"top_p":0.9}}');
console.log(`seen:     ${JSON.stringify({ options, max_output_tokens, temperature, top_p })}; warnings of: ${told}`);
const isBeside = max_output_tokens === 12 && temperature === 0.5 && top_p === 0.9;
process.exit(options === undefined && isBeside && told.join() === "seed" ? 0 : 1);
NODE
node "$folder/ask.mjs"

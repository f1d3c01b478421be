#!/usr/bin/env bash
# ai 6.0.326 with @ai-sdk/openai-compatible 2.0.92 (Node).
# Guess: the prompt of `generateText` with a *completion* model reaches /v1/completions as it was given.
# Instead: it is sent as "user:\n…\n\nassistant:\n" with the stop string "\nuser:". A `suffix` in the provider's options is
#   sent beside that, so a gap in code is filled behind the word "assistant:".
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && npm install --silent ai@6.0.326 @ai-sdk/openai-compatible@2.0.92 >/dev/null) || exit 2

cat >"$folder/ask.mjs" <<'NODE'
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText } from "ai";

let sent;
async function fetch(url, { body }) {
  sent = JSON.parse(body);
  const choices = [{ index: 0, text: "self", finish_reason: "stop" }];
  const answer = { id: "cmpl-1", object: "text_completion", created: 1, model: "any", choices };
  return new Response(JSON.stringify(answer), { headers: { "Content-Type": "application/json" } });
}

const provider = createOpenAICompatible({ name: "here", baseURL: "http://127.0.0.1/v1", fetch });
const providerOptions = { here: { suffix: "):\n" } };
await generateText({ model: provider.completionModel("any"), prompt: "def f(", providerOptions });
console.log("version:  ai 6.0.326, @ai-sdk/openai-compatible 2.0.92");
console.log('expected: {"prompt":"def f(","suffix":"):\\n"}');
console.log(`seen:     ${JSON.stringify({ prompt: sent.prompt, suffix: sent.suffix, stop: sent.stop })}`);
process.exit(sent.prompt === "user:\ndef f(\n\nassistant:\n" && sent.suffix === "):\n" ? 0 : 1);
NODE
node "$folder/ask.mjs"

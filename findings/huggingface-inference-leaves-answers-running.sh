#!/usr/bin/env bash
# @huggingface/inference 4.13.30, with openai 7.59.0 for Node beside it.
# Guess: to leave the loop over a stream (`break`) ends the request, as with the package `openai`: the server sees that its client
#   is gone, and stops writing.
# Instead: the request stays open. The server writes on to the end of an answer that nobody reads, and the process of the client
#   does not end before. Only an AbortSignal ends it, which the loop then reports as an AbortError.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --prefix "$folder" @huggingface/inference@4.13.30 openai@7.59.0 >/dev/null || exit 2

cat >"$folder/ask.mjs" <<'JS'
import { createServer } from "node:http";
import { readFileSync } from "node:fs";
import { InferenceClient } from "@huggingface/inference";
import OpenAI from "openai";

const CHUNKS = 30; // one each tenth of a second
let written = 0;
let done;
const server = createServer((request, response) => {
  request.resume();
  response.writeHead(200, { "Content-Type": "text/event-stream" });
  const timer = setInterval(() => {
    const choice = { index: 0, delta: { content: "a" }, finish_reason: null };
    const chunk = { id: "any", object: "chat.completion.chunk", created: 1, model: "any", choices: [choice] };
    response.write(`data: ${JSON.stringify(chunk)}\n\n`);
    written += 1;
    if (written === CHUNKS) response.end("data: [DONE]\n\n");
  }, 100);
  response.on("close", () => {
    clearInterval(timer);
    done();
  });
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const base = `http://127.0.0.1:${server.address().port}/v1`;
const asked = { model: "any", messages: [{ role: "user", content: "x" }] };

async function writtenFor(stream) {
  written = 0;
  const closed = new Promise((resolve) => (done = resolve));
  for await (const _ of await stream()) break;
  await closed;
  return written;
}

const byOpenai = await writtenFor(() =>
  new OpenAI({ baseURL: base, apiKey: "any" }).chat.completions.create({ ...asked, stream: true }),
);
const byHub = await writtenFor(() => new InferenceClient("any", { endpointUrl: base }).chatCompletionStream(asked));
server.close();
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`)).version;
console.log(`version:  @huggingface/inference ${version("@huggingface/inference")}, openai ${version("openai")}, Node ${process.version}`);
console.log(`expected: after a break at the first chunk the server writes one or two of ${CHUNKS}`);
console.log(`seen:     ${byHub} for @huggingface/inference, ${byOpenai} for openai`);
process.exit(byHub === CHUNKS && byOpenai < 5 ? 0 : 1);
JS
cd "$folder"
NO_PROXY=127.0.0.1 node ask.mjs

// Continue's adapters: its provider for OpenAI's API, chat and gaps.
import assert from "node:assert";
import { constructLlmApi } from "@continuedev/openai-adapters";

const { signal } = new AbortController();
const apiBase = `${process.argv[2]}/v1/`;
const turn = { model: "llada", messages: [{ role: "user", content: "Hi" }], max_tokens: 8, seed: 1 };

async function text(stream) {
  let written = "";
  for await (const chunk of stream) written += chunk.choices[0]?.delta.content ?? "";
  return written;
}

for (const provider of ["openai", "vllm", "mistral", "inception"]) {
  const api = constructLlmApi({ provider, apiBase, apiKey: "none is needed", model: "llada" });
  const whole = (await api.chatCompletionNonStream({ ...turn, stream: false }, signal)).choices[0].message.content;
  assert.equal(await text(api.chatCompletionStream({ ...turn, stream: true }, signal)), whole, provider);
}
for (const provider of ["vllm", "mistral", "inception"]) {
  const api = constructLlmApi({ provider, apiBase, apiKey: "none is needed", model: "dreamon" });
  const gap = { model: "dreamon", prompt: "def f(", suffix: "return x\n", max_tokens: 8, seed: 1, stream: true };
  console.log(provider, JSON.stringify(await text(api.fimStream(gap, signal))));
}

// The AI SDK with its provider for servers such as this one: chat, completions, gaps and objects.
import assert from "node:assert";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateObject, generateText, jsonSchema, streamText } from "ai";

const baseURL = `${process.argv[2]}/v1`;
const provider = createOpenAICompatible({ name: "here", baseURL, supportsStructuredOutputs: true });
const limits = { maxOutputTokens: 8, seed: 1, maxRetries: 0 };

for (const model of [provider.chatModel("llada"), provider.completionModel("llada")]) {
  const { text } = await generateText({ model, prompt: "Hi", ...limits });
  assert.equal(await streamText({ model, prompt: "Hi", ...limits }).text, text);
}
const providerOptions = { here: { suffix: "return x\n" } };
const gap = { model: provider.completionModel("dreamon"), prompt: "def f(", providerOptions, ...limits };
assert((await generateText(gap)).finishReason);

const schema = jsonSchema({
  type: "object",
  properties: { age: { type: "integer" } },
  required: ["age"],
  additionalProperties: false,
});
const asked = { model: provider.chatModel("llada"), schema, prompt: "How old?", ...limits, maxOutputTokens: 24 };
assert(Number.isInteger((await generateObject(asked)).object.age));

// Clients for Node that speak Ollama's API: its own, LangChain's and a provider of the AI SDK.
import assert from "node:assert";
import { ChatOllama } from "@langchain/ollama";
import { generateText, Output, streamText } from "ai";
import { createOllama } from "ai-sdk-ollama";
import { Ollama } from "ollama";
import { z } from "zod";

const url = process.argv[2];
const prompt = "How old is Anne?";
const schema = z.object({ age: z.number().int() });

const options = { num_predict: 8, seed: 1 };
const own = new Ollama({ host: url });
const whole = (await own.generate({ model: "llada", prompt, options })).response;
let streamed = "";
for await (const part of await own.generate({ model: "llada", prompt, options, stream: true })) streamed += part.response;
assert.equal(streamed, whole);

const chat = (numPredict) => new ChatOllama({ baseUrl: url, model: "llada", numPredict, seed: 1, maxRetries: 0 });
const { content } = await chat(8).invoke(prompt);
let turn = "";
for await (const part of await chat(8).stream(prompt)) turn += part.content;
assert.equal(turn, content);
assert(Number.isInteger((await chat(48).withStructuredOutput(schema).invoke(prompt)).age));

const asked = { model: createOllama({ baseURL: url })("llada"), prompt, maxOutputTokens: 8, seed: 1, maxRetries: 0 };
const { text, usage } = await generateText(asked);
assert(usage.outputTokens <= 8);
assert.equal(await streamText(asked).text, text);
const typed = await generateText({ ...asked, maxOutputTokens: 48, output: Output.object({ schema }) });
assert(Number.isInteger(typed.output.age));

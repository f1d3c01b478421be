// OpenAI's client for Node: models, completions, chat, functions and streams.
import assert from "node:assert";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "none is needed", maxRetries: 0 });
const names = (await client.models.list()).data.map((model) => model.id);
assert(names.includes("llada") && names.includes("dreamon"));

const asked = { model: "llada", prompt: "It was", max_tokens: 8, seed: 1 };
const whole = (await client.completions.create(asked)).choices[0].text;
let streamed = "";
for await (const chunk of await client.completions.create({ ...asked, stream: true })) streamed += chunk.choices[0].text;
assert.equal(streamed, whole);
await client.completions.create({ model: "dreamon", prompt: "def f(", suffix: "return x\n", max_tokens: 8 });

const turn = { model: "llada", messages: [{ role: "user", content: "Hi" }], max_tokens: 8, seed: 1 };
const said = (await client.chat.completions.create(turn)).choices[0].message.content;
assert.equal(await client.chat.completions.stream(turn).finalContent(), said);
const refused = await client.chat.completions.create({ ...turn, model: "none" }).catch((error) => error.status);
assert.equal(refused, 404);

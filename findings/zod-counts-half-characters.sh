#!/usr/bin/env bash
# zod 3.25.76 with ai 6.0.326 (Node).
# Guess: what is valid by the JSON schema that is made of a zod schema is valid by the zod schema, too.
# Instead: `.max(2)` becomes "maxLength": 2, which counts characters, while zod counts UTF-16 units, so that two
#   characters beyond U+FFFF (an emoji, 𝒂) are four of them. `generateObject` refuses an answer that obeys the schema
#   it has sent. A pattern such as /^[a-z]{1,2}$/ means the same to both.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && npm install --silent ai@6.0.326 zod@3.25.76 ajv@8.17.1 >/dev/null) || exit 2

cat >"$folder/ask.mjs" <<'NODE'
import { createRequire } from "node:module";
import { asSchema } from "ai";
import { z } from "zod";

const Ajv = createRequire(import.meta.url)("ajv").default;
const schema = z.object({ name: z.string().max(2) });
const sent = await asSchema(schema).jsonSchema;
const value = { name: "𝒂𝒃" };
const byJsonSchema = new Ajv().validate(sent, value);
const byZod = schema.safeParse(value).success;
console.log("version:  zod 3.25.76, ai 6.0.326, ajv 8.17.1");
console.log(`expected: ${JSON.stringify(value)} is valid by both, for its name has two characters`);
console.log(`seen:     by the JSON schema ${JSON.stringify(sent.properties.name)}: ${byJsonSchema}; by zod: ${byZod}`);
process.exit(byJsonSchema && !byZod ? 0 : 1);
NODE
node "$folder/ask.mjs"

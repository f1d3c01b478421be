#!/usr/bin/env bash
# zod 4.6.7 with ajv 8.20.0 and ajv-formats 3.0.1 (Node).
# Guess: the JSON schema that `z.toJSONSchema` makes of a string type can be compiled by Ajv by its defaults: what JSON Schema
#   has no format for, such as a text that includes another, is written as a pattern.
# Instead: a pattern is written, and beside it a `format` of zod's own: "starts_with", "includes", "lowercase", "ulid", "base64"
#   and others. Ajv throws at such a schema, ajv-formats or not: 'unknown format "includes" ignored in schema'. Only where its
#   strict mode is off, or each format is declared, does it compile.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm install --silent --prefix "$folder" zod@4.6.7 ajv@8.20.0 ajv-formats@3.0.1 >/dev/null || exit 2

cat >"$folder/ask.mjs" <<'JS'
import { readFileSync } from "node:fs";

import addFormats from "ajv-formats";
import Ajv from "ajv/dist/2020.js";
import * as z from "zod";

const types = {
  email: z.email(),
  uuid: z.uuid(),
  date: z.iso.date(),
  startsWith: z.string().startsWith("ab"),
  includes: z.string().includes("ab"),
  lowercase: z.string().lowercase(),
  ulid: z.ulid(),
  e164: z.e164(),
  base64: z.base64(),
};

function complaint(schema, options) {
  const ajv = addFormats.default(new Ajv.default({ logger: false, ...options }));
  try {
    ajv.compile(schema);
    return "";
  } catch (error) {
    return error.message;
  }
}

const schemas = Object.entries(types).map(([name, type]) => [name, z.toJSONSchema(type)]);
const refused = schemas.filter(([, schema]) => complaint(schema)).map(([name]) => name);
const patterns = schemas.filter(([name, schema]) => refused.includes(name) && schema.pattern).length;
const without = schemas.filter(([, schema]) => complaint(schema, { strict: false })).map(([name]) => name);
const version = (name) => JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;
console.log(`version:  ${["zod", "ajv", "ajv-formats"].map((name) => `${name} ${version(name)}`).join(", ")}`);
console.log(`expected: Ajv compiles the schema of each of ${Object.keys(types).join(", ")}`);
console.log(`seen:     refused: ${refused.join(", ")}; ${patterns} of them have a pattern; refused where strict is off: ${without.join(", ") || "none"}`);
console.log(`          ${JSON.stringify(z.toJSONSchema(types.includes))}: ${complaint(z.toJSONSchema(types.includes))}`);
const isAsDescribed = refused.join() === "startsWith,includes,lowercase,ulid,e164,base64" && patterns === 6 && without.length === 0;
process.exit(isAsDescribed ? 0 : 1);
JS
node "$folder/ask.mjs"

// The server: what it knows, what it answers, and the key that it may ask for.

const API = new URL("api/diffusion/", document.baseURI);
const KEY_NAME = "reynard-api-key";
const ON_THIS_MACHINE = ["localhost", "127.0.0.1", "[::1]"];

/**
 * @typedef {{title: string, detail?: string, status?: number, errors?: {field: string, message: string}[]}} Facts
 * @typedef {{type: string, data: any, metadata: Record<string, any>}} StreamEvent
 * @typedef {{model_id: string, name: string, description: string, max_length: number, is_available: boolean,
 *   capabilities: string[], parameters?: Record<string, {minimum: number, maximum: number}>}} Model
 */

/** Why there is no answer, in sentences. */
export class Problem extends Error {
  /** @param {Facts} facts */
  constructor({ title, detail = "", status = 0, errors = [] }) {
    super(detail ? `${title}: ${detail}` : title);
    Object.assign(this, { title, detail, status, errors });
  }
}

/** The key lives as long as the tab. */
export const key = {
  get: () => sessionStorage.getItem(KEY_NAME) ?? "",
  set: (/** @type {string} */ value) => sessionStorage.setItem(KEY_NAME, value),
};

/** @param {string} path below the API, such as `infill/stream` */
export const addressOf = (path) => new URL(path, API).href;

/** Models, configuration, and the parameters of a request as the server describes them. */
export async function loadFacts() {
  const [{ models }, config, { components }] = await Promise.all([
    getJson("models"),
    getJson("config"),
    getJson("../../openapi.json"),
  ]);
  const parameters = components.schemas.DiffusionGenerationParams.properties;
  return { models: await withDetails(models), config, parameters };
}

/** The events of one request, until the server has said that it is over.
 * @param {string} path
 * @param {object} body
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<StreamEvent>}
 */
export async function* events(path, body, signal) {
  const headers = { "Content-Type": "application/json", Accept: "text/event-stream" };
  const response = await call(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  for await (const line of lines(response)) {
    if (line.startsWith("data: ")) yield JSON.parse(line.slice("data: ".length));
  }
}

/** The answer to one request.
 * @param {string} path
 * @param {object} body
 * @param {AbortSignal} signal
 */
export async function answer(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  return (await call(path, { method: "POST", headers, body: JSON.stringify(body), signal })).json();
}

/** What each model takes is told on the admin path, and there to readers on the same machine.
 * @param {Model[]} models
 * @returns {Promise<Model[]>}
 */
async function withDetails(models) {
  if (!ON_THIS_MACHINE.includes(location.hostname)) return models;
  try {
    return (await getJson("admin/models")).models;
  } catch {
    return models;
  }
}

const getJson = async (path) => (await call(path)).json();

async function call(path, options = {}) {
  const headers = { ...options.headers, ...(key.get() && { "X-API-Key": key.get() }) };
  let response;
  try {
    response = await fetch(addressOf(path), { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The server cannot be reached", detail: "is it running, and is this its address?" });
  }
  if (response.ok) return response;
  throw new Problem({ title: `The server answered ${response.status}`, ...(await factsOf(response)) });
}

async function factsOf(response) {
  try {
    return await response.json();
  } catch {
    return { status: response.status };
  }
}

async function* lines(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
    const parts = (rest + chunk.value).split("\n");
    rest = parts.pop();
    yield* parts;
  }
}

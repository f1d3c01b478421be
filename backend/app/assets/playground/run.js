// One request: what was asked, what has come of it so far, and how it ended.

import { frameAfter, frameBefore } from "./frames.js";
import { Problem, events } from "./server.js";

/** @typedef {"waiting" | "denoising" | "complete" | "stopped" | "failed"} Status */

export class Run {
  /** @type {Status} */
  status = "waiting";
  /** @type {import("./frames.js").Frame[]} */
  frames = [];
  /** Final text so far. */
  text = "";
  /** @type {Record<string, any>} what the server says of the request */
  facts = {};
  /** @type {Problem | null} */
  problem = null;
  #abort = new AbortController();
  #startMs = 0;
  #endMs = 0;

  /**
   * @param {"generate" | "infill"} mode
   * @param {Record<string, any>} body
   */
  constructor(mode, body) {
    this.mode = mode;
    this.body = body;
  }

  get isOver() {
    return ["complete", "stopped", "failed"].includes(this.status);
  }

  get elapsedS() {
    return this.#startMs && ((this.#endMs || performance.now()) - this.#startMs) / 1000;
  }

  get lastPass() {
    return this.frames.at(-1)?.pass ?? 0;
  }

  /** The canvas as it was after so many forward passes. */
  frameAt(pass) {
    return this.frames.findLast((frame) => frame.pass <= pass) ?? this.frames[0];
  }

  /** Asks, and returns when the answer is over, whichever way. */
  async follow() {
    if (this.isOver) return;
    this.#startMs = performance.now();
    try {
      const body = { ...this.body, stream_mode: "canvas" };
      for await (const event of events(`${this.mode}/stream`, body, this.#abort.signal)) this.#take(event);
      if (!this.isOver) throw new Problem({ title: "The connection broke off", detail: "ask again" });
    } catch (error) {
      if (!this.isOver) this.#fail(error);
    }
    this.#endMs = performance.now();
  }

  /** Gives the request up; the server frees its place. */
  stop() {
    if (!this.isOver) this.status = "stopped";
    this.#abort.abort();
  }

  #take({ type, data, metadata }) {
    Object.assign(this.facts, metadata);
    if (type === "start") this.status = "denoising";
    if (type === "token") this.text += data;
    if (type === "step") this.#addFrame(data);
    if (type === "complete") this.status = "complete";
    if (type === "error") throw new Problem({ title: "The answer broke off", detail: data });
  }

  #addFrame(step) {
    if (!this.frames.length) this.frames.push(frameBefore(step));
    this.frames.push(frameAfter(this.frames.at(-1), step));
  }

  #fail(error) {
    this.status = "failed";
    this.problem = error instanceof Problem ? error : new Problem({ title: "The page failed", detail: String(error) });
  }
}

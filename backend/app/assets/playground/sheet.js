// The canvas as it is seen: the given text, and between it the cells of one frame.

import { element } from "./elements.js";

/** Confidence from which on a cell has the next of five colours. */
const LEVELS = [0.1, 0.3, 0.6, 0.9];
const SPECIAL_TOKEN = /^<\|.*\|>$/;

export class Sheet {
  #root;
  #cells;
  /** @type {{cell: import("./frames.js").Cell, isNew: boolean}[]} what stands in `#cells` */
  #drawn = [];

  /** @param {string} name `A` or `B` */
  constructor(name) {
    this.#root = document.querySelector("#sheet-template").content.cloneNode(true).querySelector(".sheet");
    this.#cells = this.#find(".cells");
    this.#find(".sheet-name").textContent = name;
    this.#find(".paper").setAttribute("aria-label", `Canvas ${name}`);
    document.querySelector("#sheets").append(this.#root);
  }

  set isHidden(isHidden) {
    this.#root.hidden = isHidden;
  }

  /** Called when one of the buttons on the sheet is pressed.
   * @param {"copy-text" | "keep-seed" | "show-code"} name
   * @param {(event: Event) => void} listener
   */
  on(name, listener) {
    this.#find(`.${name}`).addEventListener("click", listener);
  }

  /** The text around the canvas.
   * @param {string} before
   * @param {string} after
   */
  setGiven(before, after) {
    this.#find(".before").textContent = before;
    this.#find(".after").textContent = after;
  }

  /** How the request stands.
   * @param {import("./run.js").Run | null} run
   */
  tell(run) {
    this.#root.dataset.status = run?.status ?? "idle";
    this.#find(".state").textContent = run?.status ?? "before the first pass";
    this.#say(".notice", standInNotice(run));
    this.#say(".problem", run?.problem?.message);
    this.#find(".copy-text").disabled = !run?.text;
    this.#find(".keep-seed").disabled = run?.facts.seed === undefined;
  }

  /** @param {import("./frames.js").Frame} frame */
  draw({ pass, cells }) {
    cells.forEach((cell, index) => this.#put(cell, index, pass > 0 && cell.pass === pass));
    while (this.#cells.children.length > cells.length) this.#cells.lastChild.remove();
    this.#drawn.length = cells.length;
  }

  /** Brings the first cell into view, where a long text stands before it. */
  reveal() {
    this.#find(".paper").scrollTop = this.#cells.offsetTop - 80;
  }

  #put(cell, index, isNew) {
    const drawn = this.#drawn[index];
    if (drawn?.cell === cell && drawn.isNew === isNew) return;
    this.#drawn[index] = { cell, isNew };
    const place = this.#cells.children[index];
    if (place) place.replaceWith(drawnCell(cell, isNew));
    else this.#cells.append(drawnCell(cell, isNew));
  }

  #say(selector, text = "") {
    this.#find(selector).textContent = text;
    this.#find(selector).hidden = !text;
  }

  #find(selector) {
    return this.#root.querySelector(selector);
  }
}

function standInNotice(run) {
  const { requested_model: asked = run?.body.model_id, model_id: answering } = run?.facts ?? {};
  return answering && asked && answering !== asked ? `${asked} cannot be had now; ${answering} answers instead.` : "";
}

function drawnCell(cell, isNew) {
  const span = element("span", { className: `cell ${cell.kind}` });
  span.classList.toggle("new", isNew);
  if (cell.kind === "text") write(span, cell);
  else span.title = cell.kind === "mask" ? titleOfMask(isNew) : "deleted in this pass";
  if (cell.kind !== "text") span.setAttribute("aria-hidden", "true");
  return span;
}

const titleOfText = (number, pass, isForced) =>
  isForced
    ? `forced: the constraint left no other token; written in pass ${pass}`
    : `confidence ${number}, written in pass ${pass}`;

const titleOfMask = (isNew) => (isNew ? "mask, new in this pass" : "mask");

function write(span, { text, confidence, pass, isForced = false }) {
  const number = confidence === null ? "?" : confidence.toFixed(2);
  span.classList.add(confidence === null ? "unknown" : `level-${levelOf(confidence)}`);
  span.classList.toggle("forced", isForced);
  span.classList.toggle("special", SPECIAL_TOKEN.test(text));
  span.classList.toggle("breaks", text.includes("\n"));
  span.style.setProperty("--confidence", String(confidence ?? 0));
  span.dataset.number = isForced ? "only" : number;
  span.title = confidence === null ? "confidence not seen" : titleOfText(number, pass, isForced);
  text.split("\n").forEach((line, index) => {
    if (index) span.append(element("i", { className: "line-end", ariaHidden: "true" }), "\n");
    span.append(line);
  });
}

/** The colour of a confidence, from 0 to 4. */
export const levelOf = (confidence) => LEVELS.filter((level) => confidence >= level).length;

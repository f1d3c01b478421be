// The hand on the replay: a slider over forward passes, and a button that plays them.

const TICK_MS = 70;
const REPLAY_TICKS = 120;
const CATCH_UP_TICKS = 20;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

/** @typedef {{lastPass: number, isLive: boolean}} Progress */

export class Player {
  pass = 0;
  #slider = document.querySelector("#pass");
  #button = document.querySelector("#play");
  #reading = document.querySelector("#pass-reading");
  #isMoving = false;
  /** A live canvas is followed so that the eye keeps up; a replay goes at an even pace. */
  #isFollowing = false;
  #timer = 0;

  /**
   * @param {() => Progress} progress
   * @param {() => void} draw called whenever there may be something new to see
   */
  constructor(progress, draw) {
    this.progress = progress;
    this.draw = draw;
    this.#slider.addEventListener("input", () => this.#seek(Number(this.#slider.value)));
    this.#button.addEventListener("click", () => (this.#isMoving ? this.#seek(this.pass) : this.#replay()));
    this.#show();
  }

  /** Follows a request from its beginning until it is over and seen. */
  follow() {
    this.pass = 0;
    this.#move(true);
  }

  #replay() {
    const { lastPass, isLive } = this.progress();
    if (this.pass >= lastPass) this.pass = 0;
    this.#move(isLive);
  }

  #seek(pass) {
    this.pass = pass;
    this.#isMoving = false;
    this.#show();
  }

  #move(isFollowing) {
    this.#isMoving = true;
    this.#isFollowing = isFollowing;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#show();
  }

  #tick() {
    const { lastPass, isLive } = this.progress();
    if (this.#isMoving) this.pass = Math.min(this.pass + this.#stride(lastPass), lastPass);
    this.#isMoving &&= isLive || this.pass < lastPass;
    if (!this.#isMoving && !isLive) clearInterval(this.#timer);
    this.#show();
  }

  #stride(lastPass) {
    if (!this.#isFollowing) return Math.ceil(lastPass / REPLAY_TICKS);
    const lag = lastPass - this.pass;
    return calm.matches ? lag : Math.ceil(lag / CATCH_UP_TICKS);
  }

  #show() {
    const { lastPass } = this.progress();
    this.#slider.max = String(lastPass);
    this.#slider.value = String(this.pass);
    this.#slider.disabled = this.#button.disabled = lastPass === 0;
    this.#slider.setAttribute("aria-valuetext", `forward pass ${this.pass} of ${lastPass}`);
    this.#reading.textContent = `pass ${this.pass} of ${lastPass}`;
    this.#button.textContent = this.#isMoving ? "Pause" : "Play";
    this.draw();
  }
}

// A batch of files: a few at a time, and what was not analysed is never forgotten.

const AT_ONCE = 2; // uploads

/** Files that wait, are at work, and were left out. */
export class Queue {
  #waiting = [];
  #running = 0;
  #abort = null;
  done = 0;
  total = 0;
  left = []; // files of this batch that were not analysed

  /** `analyse(file, signal)` gives a row or throws; `finished(file, row)`, `changed()`, `stopped(error)` are told of it.
   *  `incomplete()` is told once nothing is at work any more and files were left out. */
  constructor({ analyse, finished, changed, stopped, incomplete }) {
    Object.assign(this, { analyse, finished, changed, stopped, incomplete });
  }

  get isAtWork() {
    return this.#running > 0 || this.#waiting.length > 0;
  }

  add(files) {
    if (!this.isAtWork) this.reset();
    this.#waiting.push(...files);
    this.total += files.length;
    this.changed();
    this.#start();
  }

  cancel() {
    this.#leave();
    this.#abort?.abort();
  }

  /** Forget the batch that was. */
  reset() {
    Object.assign(this, { done: 0, total: 0, left: [] });
    this.#waiting = [];
    this.#abort = new AbortController();
  }

  #start() {
    while (this.#running < AT_ONCE && this.#waiting.length) this.#work(this.#abort);
  }

  async #work(abort) {
    this.#running += 1;
    let trouble = null;
    while (this.#waiting.length && !trouble && abort === this.#abort) {
      const file = this.#waiting.shift();
      try {
        const row = await this.analyse(file, abort.signal);
        if (abort === this.#abort) this.#finish(file, row);
      } catch (error) {
        trouble = error;
        if (abort === this.#abort) this.left.push(file);
      }
    }
    this.#running -= 1;
    if (trouble && abort === this.#abort) this.#stop(trouble);
    if (!this.isAtWork && this.left.length) this.incomplete(); // the last one at work may have met no trouble
    this.changed();
    this.#start(); // of a batch that was added while this one was being forgotten
  }

  #finish(file, row) {
    this.finished(file, row);
    this.done += 1;
    this.changed();
  }

  /** What failed once fails for the others, too. */
  #stop(trouble) {
    this.#leave();
    if (trouble.name !== "AbortError") this.stopped(trouble);
  }

  #leave() {
    this.left.push(...this.#waiting.splice(0));
  }
}

/** Wait, unless told not to. */
export const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(new DOMException("", "AbortError"))), { once: true });
  });

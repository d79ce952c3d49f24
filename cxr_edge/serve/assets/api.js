// What the page asks the server, and nothing else: the token goes with every request and is kept for this window alone.

const TOKEN = "cxr-edge-token";

/** An answer that is no result. `status` 0: no answer at all. */
export class Refused extends Error {
  constructor(status, problem = {}, retryAfter = null) {
    super(problem.detail ?? problem.title ?? String(status));
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }

  /** Whether the same may go well in a moment. */
  get isBusy() {
    return this.status === 429 || (this.status === 503 && (this.problem.reason ?? "busy") === "busy");
  }
}

/** Keep the token for this window. */
export const keepToken = (value) => sessionStorage.setItem(TOKEN, value);

/** Whether one was given. */
export const hasToken = () => sessionStorage.getItem(TOKEN) !== null;

/** The model's contract, and the limits of a request. */
export const model = () => asJson("/model");

/** The row of one file; pictures and PDF stay with the server for a while. A rejection is a row, too. */
export async function predict(file, signal) {
  const body = new FormData();
  body.append("file", file, file.name);
  try {
    return await asJson("/predict?heatmap=1", { method: "POST", body, signal });
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    const { reason: code = "too_slow", gate = null, source } = error.problem;
    // an image's own failure, or one that came too slowly: the others may do better
    if (source || error.status === 408) return rejected(code, error.message, gate, source);
    if (error.status === 0 && !(await isReadable(file))) return rejected("unreadable", "the browser cannot read the file");
    throw error;
  }
}

const rejected = (code, message, gate = null, source = null) => ({ status: "rejected", reason: { code, message }, gate, source });

/** A file may have been changed or taken away since it was chosen; a request then fails as if nobody answered. */
const isReadable = (file) => file.stream().getReader().read().then(() => true, () => false);

/** A picture or PDF of an earlier result, as a Blob; null when the server has forgotten it. */
export async function kept(path) {
  try {
    return await (await ask(path)).blob();
  } catch (error) {
    if (error instanceof Refused && (error.status === 404 || error.status === 410)) return null;
    throw error;
  }
}

async function asJson(path, options) {
  return (await ask(path, options)).json();
}

async function ask(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN);
  const headers = /^[!-~]+$/.test(token ?? "") ? { Authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0);
  }
  if (answer.ok) return answer;
  let problem = {};
  try {
    problem = await answer.json();
  } catch {
    // a proxy's own page
  }
  throw new Refused(answer.status, problem, Number(answer.headers.get("Retry-After")) || null);
}

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
}

/** Keep the token for this window. */
export const keepToken = (value) => sessionStorage.setItem(TOKEN, value);

/** The model's contract, and the limits of a request. */
export const model = () => asJson("/model");

/** The row of one file; pictures and PDF stay with the server for a while. A rejection is a row, too. */
export async function predict(file, signal) {
  const body = new FormData();
  body.append("file", file, file.name);
  try {
    return await asJson("/predict?heatmap=1", { method: "POST", body, signal });
  } catch (error) {
    if (error instanceof Refused && error.status === 422 && error.problem.reason) {
      return { status: "rejected", reason: { code: error.problem.reason, message: error.problem.detail }, gate: error.problem.gate ?? null };
    }
    throw error;
  }
}

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
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
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

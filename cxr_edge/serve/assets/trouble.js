// What went wrong, in one visible line; the server's own English words behind a click.

import { Refused } from "./api.js";
import * as api from "./api.js";
import { code, words } from "./messages.js";
import { make } from "./verdict.js";

const $ = (id) => document.getElementById(id);

/** Show it. */
export function trouble(error) {
  $("trouble-text").textContent = inWords(error).replace(/[^.?!]$/, "$&.");
  const { reason, detail } = error.problem ?? {};
  const more = reason && detail ? [make("summary", {}, words("technical")), make("span", { lang: "en" }, `${reason}: ${detail}`)] : [];
  $("trouble-details").replaceChildren(...more);
  $("trouble-details").hidden = !more.length;
  $("trouble").hidden = false;
}

/** A list that is not complete must not look so, whatever goes wrong later. */
export function tellLeftOut(count, total) {
  $("left-out").textContent = words("leftOut", { count, total });
  $("trouble").hidden = $("retry-place").hidden = false;
}

/** Nothing is wrong any more. */
export function forgetTrouble() {
  $("trouble").hidden = $("retry-place").hidden = true;
  for (const id of ["trouble-text", "trouble-details", "left-out"]) $(id).replaceChildren();
  $("trouble-details").hidden = true;
}

function inWords(error) {
  if (!(error instanceof Refused)) return error.message;
  if (error.status === 0) return words("offline");
  if (error.status === 401) return words(api.hasToken() ? "badToken" : "needsToken");
  return code(error.problem.reason, words("failed", { status: error.status }));
}

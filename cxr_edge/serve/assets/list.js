// The list of results: rows stay the elements they are, so that neither focus nor place gets lost.

import { code, heading, label, scores, words } from "./messages.js";
import { badge, hasMany, kind, look, make } from "./verdict.js";

/** A row for an item, ready to be put into the list. */
export function rowOf(item, choose) {
  const button = make("button", { type: "button" });
  button.addEventListener("click", choose);
  item.line = make("li", {}, button);
  fill(item);
  return item.line;
}

/** Say it again, in the language of now. */
export function fill({ name, row, line }) {
  const button = line.firstChild;
  button.className = look(row);
  const isRejected = row.status === "rejected";
  const said = isRejected
    ? `${words("rejected")}. ${code(row.reason.code, row.reason.message)}`
    : words("inList", { side: heading(words(`result.${kind(row)}`)), label: label(row.label) });
  button.replaceChildren(
    make("span", { class: "name" }, name),
    make("span", { class: "said" }, said),
    make("span", { class: hasMany(row) ? "score of-all" : "score" }, isRejected ? "" : scoreOf(row)),
    ...[badge(row)].filter(Boolean),
  );
}

/** The score; beside one of many labels it says what it is of. */
function scoreOf(row) {
  const [score] = scores(row);
  return hasMany(row) ? words("scoreOfAll", { score }) : score;
}

/** Which of them is shown beside the list. */
export function mark(items, chosen) {
  for (const item of items) {
    if (item === chosen) item.line.firstChild.setAttribute("aria-current", "true");
    else item.line.firstChild.removeAttribute("aria-current");
  }
}

/** Arrow keys, Home and End go through the list; `choose` is told where they come to. */
export function prepareKeys(list, choose) {
  list.addEventListener("keydown", (event) => {
    const lines = [...list.children];
    const here = lines.indexOf(event.target.closest("li"));
    const there = { ArrowUp: here - 1, ArrowDown: here + 1, Home: 0, End: lines.length - 1 }[event.key];
    if (here < 0 || there === undefined) return;
    event.preventDefault();
    if (!lines[there] || there === here) return;
    lines[there].firstChild.focus();
    choose(lines[there]);
  });
}

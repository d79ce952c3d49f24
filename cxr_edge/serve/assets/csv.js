// Results as a table that a spreadsheet of the reader's language opens, and none runs.

import { code, csvForm, label, notesInWords, point, words } from "./messages.js";
import { hasMany, kind } from "./verdict.js";

/** All results as CSV, with a byte order mark: without it Excel takes UTF-8 for something else. */
export function csvOf(items) {
  const { separator, mark } = csvForm();
  const line = (cells) => cells.map((value) => cell(value, mark)).join(separator);
  const score = words(items.some(({ row }) => hasMany(row)) ? "csvScoreOfAll" : "score");
  const lines = [words("csvHead", { score }).split("|"), ...items.map(cellsOf)].map(line);
  return new Blob(["\ufeff", lines.join("\r\n"), "\r\n"], { type: "text/csv;charset=utf-8" });
}

function cellsOf({ name, row }) {
  const digest = row.source?.content_sha256 ?? "";
  const gate = row.gate ? words(`gate.short.${row.gate.status}`) : "";
  if (row.status === "rejected") return [name, words("rejected"), "", "", "", "", gate, reasons(row).join(" "), "", "", "", digest, ""];
  const { model, operating_point: used } = row;
  return [
    name, words(`result.${kind(row)}`), label(row.label), row.score, point(used.name), used.threshold, gate, reasons(row).join(" "),
    row.warnings.map(inWords).join(" "), `${model.name} ${model.version}`, model.sha256, digest,
    probabilities(row),
  ];
}

/** Each label's own, as the command's CSV has them (cxr_edge/results/writers.py). */
function probabilities(row) {
  return Object.entries(row.probabilities).map(([name, value]) => `${name}=${value.toFixed(6)}`).join(" ");
}

/** Why it was rejected, or what the gate found; first of all that the result is not to be relied on. */
function reasons(row) {
  if (row.status === "rejected") return [inWords(row.reason)];
  return [...(row.gate.status === "refused" ? [words("result.refused")] : []), ...notesInWords(row.gate.reasons)];
}

const inWords = (note) => code(note.code, note.message);

/** A cell that no spreadsheet takes for a formula; nor a part of it, where semicolons or tabs part the cells. */
function cell(value, mark) {
  if (typeof value === "number") return String(value).replace(".", mark);
  const text = value.replace(/^[=+\-@\t\r\n＝＋－＠]/, "'$&");
  return /[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

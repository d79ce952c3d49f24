// Results as a table that any spreadsheet opens and none runs.

import { current, MESSAGES } from "./messages.js";

/** All results as CSV, with a byte order mark: without it Excel takes UTF-8 for something else. */
export function csvOf(items) {
  const rows = items.map(({ name, row }) => [
    name, row.status, row.label ?? "", row.probability ?? "", row.positive ?? "", row.operating_point?.name ?? "",
    row.operating_point?.threshold ?? "", row.gate?.status ?? "", row.reason?.code ?? "",
    row.model ? `${row.model.name} ${row.model.version}` : "", row.source?.content_sha256 ?? "",
  ]);
  const text = [MESSAGES[current()].csvHead, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
  return new Blob(["\ufeff", text, "\r\n"], { type: "text/csv;charset=utf-8" });
}

/** A cell that no spreadsheet takes for a formula; nor a part of it, where semicolons or tabs part the cells. */
function cell(value) {
  const text = typeof value === "number" || typeof value === "boolean" ? String(value) : String(value).replace(/^[=+\-@\t\r\n＝＋－＠]/, "'$&");
  return /[",;\t\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// What is said, in the reader's language: the page's own words, and those it shares with the report.

import { EN } from "./en.js";
import { ES } from "./es.js";
import { milliseconds, percentages, scoreAndThreshold, share } from "./figures.js";
import { REPORT } from "./report-words.js"; // made by the server from cxr_edge/report/languages

const OWN = { en: EN, es: ES };
let language = "en";

/** The language in use. */
export const current = () => language;

/** Use a language from now on. */
export function speak(chosen) {
  language = chosen in OWN ? chosen : "en";
}

/** The words under a key, the page's own first, with {names} filled in. */
export function words(key, values = {}) {
  const text = OWN[language][key] ?? REPORT[language][key];
  return text.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ""));
}

/** The words of a code: why an image was rejected, what the gate found, a warning, a refusal of the server. */
export const code = (name, otherwise) => OWN[language].codes[name] ?? REPORT[language][`note.${name}`] ?? otherwise;

/** A label as within a sentence; itself where there is no word for it. */
export const label = (name) => REPORT[language][`label.${name}`] ?? name;

/** Labels as within brackets; of many, how many there are (as the report has it). */
export const labelsOf = (names) => (names.length > 5 ? words("statement.many", { count: names.length }) : names.map(label).join(", "));

/** The words of a list of notes: without tags and without a check of the image, nothing sounds as if it had been checked. */
export function notesInWords(notes) {
  const unchecked = notes.some((note) => note.code === "no_image_check");
  return notes.map((note) => (unchecked && note.code === "no_tags" ? words("gate.nothing_stated") : code(note.code, note.message)));
}

/** The name of an operating point. */
export const point = (name) => REPORT[language][`point.${name}`] ?? name;

/** A text as at the beginning of a line. */
export const heading = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

/** What a CSV file needs to be read in this language. */
export const csvForm = () => ({ separator: mark() === "," ? ";" : ",", mark: mark() });

const mark = () => REPORT[language].decimal_mark;

/** Score and threshold of a row, as texts. */
export const scores = (row) => scoreAndThreshold(row.score, row.operating_point.threshold, mark());

/** A probability. */
export const probability = (value) => share(value, mark());

/** A figure with its interval; no line ends before a percent sign. */
export const interval = (figure) => words("operating_point.interval", percentages(figure, mark())).replaceAll(" %", "\u00a0%");

/** What ran, and how long each stage took. */
export const stages = (row) => words("technical.stages", { provider: row.execution_provider, ...milliseconds(row.latency_ms, mark()) });

/** A moment, to the minute. */
export function moment(date) {
  return new Intl.DateTimeFormat(language === "en" ? "en-GB" : language, { dateStyle: "medium", timeStyle: "short" }).format(date);
}

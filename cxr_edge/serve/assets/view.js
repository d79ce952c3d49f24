// Everything about one result as elements of the page; its pictures are filled in by pictures.js.

import { code, heading, label, moment, notesInWords, probability, stages, words } from "./messages.js";
import { facts, make, measured, verdict } from "./verdict.js";

/** The elements of one result. */
export function detail(item, contract) {
  const { row } = item;
  if (row.status === "rejected") return [head(item), rejected(row), technical(details(row))];
  return [
    head(item),
    make(
      "div",
      { class: "sight" },
      verdict(row, contract),
      make("div", { class: "pictures" }),
      make("div", { class: "facts" }, ...labels(row, contract), ...gate(row), ...warnings(row), ...measured(row, contract)),
    ),
    technical([...howMade(row), ...details(row), ...pointOf(row, contract)]),
  ];
}

function head({ name, at, row }) {
  const model = row.model ? ` · ${row.model.name} ${row.model.version} · SHA-256 ${row.model.sha256.slice(0, 12)}…` : "";
  return make(
    "header",
    {},
    make("h2", { id: "detail-title" }, name),
    make("p", { class: "faint" }, words("analysed", { moment: moment(at) }) + model),
  );
}

function rejected(row) {
  const { code: name, message } = row.reason;
  return make("div", { class: "verdict rejected" }, make("p", { class: "class" }, words("rejected")), make("p", {}, code(name, message)));
}

/** For more than two labels: the probability of each, with its number, which is a name and no degree. */
function labels(row, contract) {
  const names = contract?.labels ?? Object.keys(row.probabilities);
  if (names.length < 3) return [];
  const stations = names.map((name, place) =>
    make(
      "li",
      { class: name === row.label ? "given" : "", "aria-current": name === row.label ? "true" : null },
      make("span", { class: "number" }, String(place)),
      heading(label(name)),
      make("span", { class: "number" }, probability(row.probabilities[name])),
    ),
  );
  return [make("h3", {}, words("labels")), make("ol", { class: "classes" }, ...stations)];
}

function gate({ gate: { status, reasons } }) {
  const said = make("p", { class: status === "refused" ? "no" : "" }, words(`gate.${status}`));
  return [make("h3", {}, words("gate")), said, ...notes(reasons)];
}

const warnings = (row) => (row.warnings.length ? [make("h3", {}, words("warnings")), ...notes(row.warnings)] : []);

function notes(list) {
  if (!list.length) return [];
  return [make("ul", { class: "notes" }, ...notesInWords(list).map((text) => make("li", {}, text)))];
}

function technical(rows) {
  return make("details", {}, make("summary", {}, words("technical")), facts(rows));
}

function howMade(row) {
  return [
    [words("technical.model"), words("technical.named", { model: `${row.model.name} ${row.model.version}`, label: row.label })],
    [words("technical.model_sha256"), row.model.sha256],
    [words("technical.content_sha256"), row.source.content_sha256 ?? words("technical.unknown")],
    [words("technical.rendering"), row.rendering],
    [words("technical.execution_provider"), stages(row)],
  ];
}

/** What the plain words leave out: codes, tags and figures. */
function details(row) {
  const all = row.status === "rejected" ? [row.reason] : [...row.gate.reasons, ...row.warnings];
  if (!all.length) return [];
  return [[words("technical.details"), make("span", { lang: "en" }, ...all.map((note) => make("span", { class: "line" }, `${note.code}: ${note.message}`)))]];
}

/** Where the operating point's figures come from; of a site's own one the contract knows nothing. */
function pointOf(row, contract) {
  const found = contract?.operating_points.find(({ name }) => name === row.operating_point.name);
  if (!found) return [];
  return ["data", "how_chosen"].map((key) => [words(`operating_point.${key}`), words("operating_point.original", { text: found[key] })]);
}

// One result as elements of the page. Text is only ever set as text, never as markup.

import { label, percent, reason, warning, words } from "./messages.js";

/** An element with attributes, classes and children; children are elements or text. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** `positive`, `negative` or `rejected`. */
export const kind = (row) => (row.status === "rejected" ? "rejected" : row.positive ? "positive" : "negative");

/** One line of the list. */
export function listItem(item, isCurrent, choose) {
  const { row } = item;
  const said = row.status === "rejected" ? reason(row.reason.code, row.reason.message) : label(row.label);
  const button = make(
    "button",
    { type: "button", class: kind(row), "aria-current": isCurrent ? "true" : null },
    make("span", { class: "name" }, item.name),
    make("span", {}, row.status === "rejected" ? `${words("rejected")}. ${said}` : `${words(kind(row))}: ${said}`),
    make("span", { class: "score" }, row.status === "rejected" ? "" : percent(row.probability)),
  );
  button.addEventListener("click", choose);
  return make("li", {}, button);
}

/** Everything about one result. `pictures` is filled in by the caller. */
export function detail(item, contract) {
  const { row } = item;
  if (row.status === "rejected") return [heading(item), rejected(row)];
  return [
    heading(item),
    make(
      "div",
      { class: "sight" },
      make("div", { class: "pictures" }),
      make("div", {}, verdict(row), scale(row), ...severalClasses(row, contract), ...gate(row), ...remarks(row)),
    ),
    technical(row),
  ];
}

function heading(item) {
  return make("h2", { id: "detail-title" }, item.name);
}

function rejected(row) {
  return make(
    "div",
    { class: "verdict rejected" },
    make("p", { class: "class" }, words("rejected")),
    make("p", {}, reason(row.reason.code, row.reason.message)),
    make("p", { class: "faint", lang: "en" }, `${row.reason.code}: ${row.reason.message}`),
  );
}

function verdict(row) {
  const point = row.operating_point;
  return make(
    "div",
    { class: `verdict ${kind(row)}` },
    make("p", { class: "class" }, words(row.positive ? "positiveFor" : "negativeFor", { label: label(row.label) })),
    make("p", {}, words("thresholdIs", { threshold: percent(point.threshold), name: point.name })),
    make(
      "p",
      { class: "faint" },
      words("asMeasured", { sensitivity: interval(point.sensitivity), specificity: interval(point.specificity) }),
    ),
  );
}

const interval = (figure) => `${percent(figure.estimate)} [${percent(figure.low)}, ${percent(figure.high)}]`;

function scale(row) {
  const point = row.operating_point;
  const bar = make("div", { class: `scale ${kind(row)}`, "aria-hidden": "true" });
  const fill = make("div", { class: "fill" });
  fill.style.width = `${row.probability * 100}%`;
  bar.append(make("div", { class: "track" }, fill));
  bar.append(placed("value", row.probability, percent(row.probability)));
  bar.append(placed("point", point.threshold, ""));
  bar.append(placed("words", point.threshold, words("threshold", { name: point.name })));
  const spoken = make("p", {}, `${words("probability")}: `, make("strong", { class: "score" }, percent(row.probability)));
  return make("div", {}, spoken, bar);
}

function placed(name, share, text) {
  const side = share > 0.7 ? "left" : share > 0.3 ? "middle" : "";
  const element = make("span", { class: text ? `${name} ${side}` : name }, text);
  element.style.left = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return element;
}

function severalClasses(row, contract) {
  const names = contract?.labels ?? Object.keys(row.probabilities);
  if (names.length < 3) return [];
  const items = names.map((name, place) =>
    make(
      "li",
      { class: name === row.label ? "given" : "", "aria-current": name === row.label ? "true" : null },
      make("span", { class: "number" }, String(place)),
      label(name),
      make("span", { class: "score number" }, percent(row.probabilities[name])),
    ),
  );
  return [make("h3", {}, `${words("scaleTitle")} 0–${names.length - 1}`), make("ol", { class: "classes" }, ...items)];
}

function gate(row) {
  const { status, reasons } = row.gate;
  const title = make("h3", {}, words("gateTitle"));
  const told = reasons.filter(({ code }) => code !== "no_tags");
  if (status === "ok") return [title, make("p", {}, words("gateOk"))];
  const first = status === "unknown" && reasons.every(({ code }) => code !== "gate_off") ? [make("p", {}, words("gateUnknown"))] : [];
  return [title, ...first, ...notes(told, reason)];
}

function remarks(row) {
  return row.warnings.length ? [make("h3", {}, words("warningsTitle")), ...notes(row.warnings, warning)] : [];
}

function notes(list, translate) {
  if (!list.length) return [];
  const items = list.map(({ code, message }) =>
    make("li", {}, translate(code, message), make("span", { class: "faint", lang: "en" }, message)),
  );
  return [make("ul", { class: "notes" }, ...items)];
}

function technical(row) {
  const spent = Object.fromEntries(Object.entries(row.latency_ms).map(([name, ms]) => [name, ms === null ? "–" : Math.round(ms)]));
  const rows = [
    ["model", `${row.model.name} ${row.model.version}`],
    ["digest", row.model.sha256],
    ["content", row.source.content_sha256 ?? "–"],
    ["provider", row.execution_provider],
    ["rendering", row.rendering],
    ["latency", words("latencyIs", spent)],
  ];
  const list = make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, words(name)), make("dd", {}, value)]));
  return make("details", {}, make("summary", {}, words("detailsTitle")), list);
}

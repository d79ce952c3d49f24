// What the model decided about one image, and how far that can be relied on.

import { heading, interval, label, labelsOf, point, probability, scores, words } from "./messages.js";

/** An element with attributes, classes and children; children are elements or text, which is never read as markup. */
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

/** `refused`, `warn` or `unknown` where the gate did not pass the image; else null. */
export const doubt = (row) => (row.status === "rejected" || row.gate.status === "ok" ? null : row.gate.status);

/** Whether there are more than two labels: then the score is the probability of no single one. */
export const hasMany = (row) => Object.keys(row.probabilities ?? {}).length > 2;

/** How a row looks: in its class's colour only where nothing forbids to rely on it. */
export const look = (row) => (doubt(row) === "refused" ? "refused" : kind(row));

/** The doubt as a badge; null where there is none. */
export const badge = (row) => (doubt(row) ? make("span", { class: `badge ${doubt(row)}` }, words(`badge.${doubt(row)}`)) : null);

/** Class, badges, score on its scale, and what a negative does not mean. */
export function verdict(row, contract) {
  const [score, threshold] = scores(row);
  const said = words(row.positive ? "result.reaches" : "result.below", { score, name: point(row.operating_point.name), threshold });
  return make(
    "div",
    { class: "verdict-place" },
    doubt(row) === "refused" ? make("p", { class: "banner" }, words("result.refused")) : null,
    make(
      "div",
      { class: `verdict ${look(row)}` },
      make("p", { class: "class" }, heading(label(row.label))),
      ...own(row),
      make("p", { class: "badges" }, make("span", { class: "badge side" }, words(`result.${kind(row)}`)), badge(row)),
      scale(row, score, threshold),
      make("p", {}, said),
      row.positive ? null : make("p", {}, make("strong", {}, words("result.no_proof"))),
      make("p", { class: "faint" }, words("score.meaning", { labels: (contract?.positive_labels ?? []).map(label).join(", ") || "…" })),
    ),
  );
}

/** Of more than two labels: how probable the one given is by itself, and which one is more so. */
function own(row) {
  if (!hasMany(row)) return [];
  const { label: given, probabilities } = row;
  const best = Object.keys(probabilities).reduce((one, other) => (probabilities[other] > probabilities[one] ? other : one));
  const said = [make("p", { class: "own" }, words("result.own", { probability: probability(probabilities[given]) }))];
  if (probabilities[best] > probabilities[given]) {
    said.push(make("p", { class: "own" }, words("result.more_probable", { label: label(best), probability: probability(probabilities[best]) })));
  }
  return said;
}

/** The score between 0 and 1, with the threshold; read out by the sentence below it. */
function scale(row, score, threshold) {
  const limit = row.operating_point.threshold;
  const bar = make("div", { class: "bar" }, make("span", { class: "zone" }), make("span", { class: "tick" }));
  bar.style.setProperty("--limit", `${limit * 100}%`);
  return make(
    "div",
    { class: "scale", "aria-hidden": "true" },
    placed("value", row.score, score),
    placed("pointer", row.score, ""),
    bar,
    make("span", { class: "end" }, "0"),
    placed("point", limit, words("score.operating_point", { threshold })),
    make("span", { class: "end last" }, "1"),
  );
}

/** A text at its place on the scale, kept inside it. */
function placed(name, share, text) {
  const reach = name === "point" ? 0.34 : 0.1;
  const side = !text ? "" : share > 1 - reach ? "left" : share < reach ? "right" : "";
  const element = make("span", { class: `${name} ${side}` }, text);
  element.style.insetInlineStart = `${Math.min(Math.max(share, 0), 1) * 100}%`;
  return element;
}

/** What the operating point was measured to do. */
export function measured(row, contract) {
  const { sensitivity, specificity, name } = row.operating_point;
  return [
    make("h3", {}, words("operating_point")),
    facts([
      [words("operating_point.name"), point(name)],
      [words("operating_point.threshold"), scores(row)[1]],
      [words("operating_point.sensitivity"), interval(sensitivity)],
      [words("operating_point.specificity"), interval(specificity)],
    ]),
    ...(hasMany(row) ? [make("p", { class: "together" }, together(row, contract))] : []),
  ];
}

/** With more than two labels: what sensitivity and specificity are of. */
function together(row, contract) {
  const positives = contract?.positive_labels;
  if (!positives) return words("operating_point.together", { positives: "…", others: "…" });
  const others = Object.keys(row.probabilities).filter((name) => !positives.includes(name));
  return words("operating_point.together", { positives: labelsOf(positives), others: labelsOf(others) });
}

/** Terms and what they are. */
export const facts = (rows) => make("dl", {}, ...rows.flatMap(([term, value]) => [make("dt", {}, term), make("dd", {}, value)]));

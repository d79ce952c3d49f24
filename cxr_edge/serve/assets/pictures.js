// What the server keeps of one result for a while: radiograph, heat map, report.

import * as api from "./api.js";
import { current, label, words } from "./messages.js";
import { hasMany, make } from "./verdict.js";

const OPACITY = "60"; // percent, as `classify --heatmap` and the report have it

/** Fill the place of an item's pictures; `isWanted` tells whether they are still to be seen once they are here. */
export async function showPictures({ item, contract, place, isWanted, trouble }) {
  const { radiograph, heatmap } = item.row;
  item.pictures ??= Promise.all([api.kept(radiograph), heatmap && api.kept(heatmap)]).then((blobs) => blobs.map(addressOf));
  let gray, heat;
  try {
    [gray, heat] = await item.pictures;
  } catch (error) {
    item.pictures = null; // to be asked for again
    return trouble(error);
  }
  if (!isWanted() || !place.isConnected) return;
  if (!gray) return place.replaceChildren(make("p", { class: "faint" }, words("noPicture")));
  const picture = make("div", { class: "picture" }, make("img", { src: gray, alt: words("radiographOf", { name: item.name }) }));
  const below = heat ? heatMap(picture, heat, evidenceIn(item.row, contract)) : [make("p", { class: "faint" }, noHeatMap(contract))];
  place.replaceChildren(picture, ...below, report(item, trouble));
}

const addressOf = (blob) => blob && URL.createObjectURL(blob);

const noHeatMap = (contract) => words(contract?.outputs.activation_map ? "picture.not_squashed" : "picture.no_activation_map");

/** Which evidence the heat map shows, as caption and as alternative text: for the most probable positive label. */
function evidenceIn(row, contract) {
  const positives = contract?.positive_labels ?? (row.positive ? [row.label] : []);
  const others = contract ? Object.keys(row.probabilities).filter((name) => !positives.includes(name)) : [];
  const [name, other] = [positives, others].map((names) => mostProbable(names, row));
  const [what, alt] = hasMany(row) ? ["picture.heat_map_against", "heatMapAltAgainst"] : ["picture.heat_map", "heatMapAlt"];
  return { what: words(what, { label: name, other }), alt: words(alt, { label: name, other }) };
}

function mostProbable(names, row) {
  const [name] = [...names].sort((one, other) => row.probabilities[other] - row.probabilities[one]);
  return name ? label(name) : "…";
}

/** Let go of an item's pictures. */
export async function forgetPictures(item) {
  const urls = await Promise.resolve(item.pictures).catch(() => null);
  for (const url of urls ?? []) if (url) URL.revokeObjectURL(url);
}

/** Hand a file to the reader. */
export function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Lay it over the picture; a slider sets its opacity, a legend shows its colours. */
function heatMap(picture, address, evidence) {
  const overlay = make("img", { src: address, alt: evidence.alt, class: "heat" });
  const colours = make("img", { src: "/assets/legend.png", alt: "" });
  const input = make("input", { id: "heat", type: "range", min: "0", max: "100", value: OPACITY, "aria-describedby": "heat-help" });
  const value = make("output", { for: "heat" });
  const show = () => {
    overlay.style.opacity = colours.style.opacity = String(input.value / 100);
    value.textContent = `${input.value} %`;
  };
  input.addEventListener("input", show);
  show();
  picture.append(overlay);
  const ends = [make("span", {}, words("picture.less")), make("span", { class: "colours" }, colours), make("span", {}, words("picture.more"))];
  return [
    make("p", { class: "legend" }, make("span", { class: "what" }, evidence.what), ...ends),
    make("div", { class: "slider" }, make("label", { for: "heat" }, words("heatMap")), input, value),
    make("p", { class: "faint", id: "heat-help" }, words("heatMapHelp")),
  ];
}

function report(item, trouble) {
  const box = make("input", { id: "identifiers", type: "checkbox" });
  const button = make("button", { type: "button", class: "button", id: "pdf" }, words("pdf"));
  button.addEventListener("click", async () => {
    try {
      const blob = await api.kept(`${item.row.report}?lang=${current()}&identifiers=${box.checked ? 1 : 0}`);
      if (!blob) return trouble(new Error(words("noPicture")));
      save(blob, `cxr-edge-${(item.row.source.content_sha256 ?? "").slice(0, 12)}.pdf`);
    } catch (error) {
      trouble(error);
    }
  });
  const check = make("span", { class: "check" }, box, make("label", { for: "identifiers" }, words("identifiersToo")));
  return make("div", { class: "report" }, button, check);
}

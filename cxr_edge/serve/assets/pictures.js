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
  const below = heat ? heatMap(picture, heat, { item, contract, trouble }) : [make("p", { class: "faint" }, noHeatMap(contract))];
  place.replaceChildren(picture, ...below, report(item, trouble));
}

const addressOf = (blob) => blob && URL.createObjectURL(blob);

const noHeatMap = (contract) => words(contract?.outputs.activation_map ? "picture.not_squashed" : "picture.no_activation_map");

/** Which evidence the heat map shows, as caption and as alternative text: for one label, or the most probable positive one. */
function evidenceIn({ row, label: chosen }, contract) {
  const positives = chosen ? [chosen] : (contract?.positive_labels ?? (row.positive ? [row.label] : []));
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
  if (item.chosen) URL.revokeObjectURL(item.chosen);
}

/** Hand a file to the reader. */
export function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Lay it over the picture; a slider sets its opacity, a legend shows its colours. */
function heatMap(picture, address, { item, contract, trouble }) {
  const overlay = make("img", { class: "heat" });
  const what = make("span", { class: "what" });
  const see = (source) => {
    const evidence = evidenceIn(item, contract);
    overlay.src = source;
    overlay.alt = evidence.alt;
    what.textContent = evidence.what;
  };
  see((item.label && item.chosen) || address);
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
    make("p", { class: "legend" }, what, ...ends),
    ...(contract && hasMany(item.row) ? [forLabel(item, contract, trouble, (chosen) => see(chosen ?? address))] : []),
    make("div", { class: "slider" }, make("label", { for: "heat" }, words("heatMap")), input, value),
    make("p", { class: "faint", id: "heat-help" }, words("heatMapHelp")),
  ];
}

/** Of more labels than two: which one the evidence is for, here and in the report. */
function forLabel(item, contract, trouble, see) {
  const options = contract.labels.map((name) => make("option", { value: name }, label(name)));
  const select = make("select", { id: "heat-label" }, make("option", { value: "" }, words("heatMapMost")), ...options);
  select.value = item.label ?? "";
  select.addEventListener("change", async () => {
    const wanted = select.value;
    try {
      const blob = wanted ? await api.kept(`${item.row.heatmap}?label=${encodeURIComponent(wanted)}`) : null;
      if (select.value !== wanted || !select.isConnected) return; // another one was chosen meanwhile
      if (wanted && !blob) throw new Error(words("noPicture"));
      if (item.chosen) URL.revokeObjectURL(item.chosen);
      [item.label, item.chosen] = wanted ? [wanted, addressOf(blob)] : [null, null];
      see(item.chosen);
    } catch (error) {
      select.value = item.label ?? "";
      trouble(error);
    }
  });
  return make("p", { class: "heat-label" }, make("label", { for: "heat-label" }, words("heatMapFor")), " ", select);
}

function report(item, trouble) {
  const box = make("input", { id: "identifiers", type: "checkbox" });
  const button = make("button", { type: "button", class: "button", id: "pdf" }, words("pdf"));
  button.addEventListener("click", async () => {
    const shown = item.label ? `&label=${encodeURIComponent(item.label)}` : "";
    try {
      const blob = await api.kept(`${item.row.report}?lang=${current()}&identifiers=${box.checked ? 1 : 0}${shown}`);
      if (!blob) return trouble(new Error(words("noPicture")));
      save(blob, `cxr-edge-${(item.row.source.content_sha256 ?? "").slice(0, 12)}.pdf`);
    } catch (error) {
      trouble(error);
    }
  });
  const check = make("span", { class: "check" }, box, make("label", { for: "identifiers" }, words("identifiersToo")));
  return make("div", { class: "report" }, button, check);
}

// What the server keeps of one result for a while: radiograph, heat map, report.

import * as api from "./api.js";
import { current, words } from "./messages.js";
import { make } from "./view.js";

/** Fill the place of an item's pictures; `isWanted` tells whether they are still to be seen once they are here. */
export async function showPictures(item, place, isWanted, trouble) {
  const { radiograph: gray, heatmap } = item.row;
  item.pictures ??= Promise.all([api.kept(gray), heatmap && api.kept(heatmap)]).then((blobs) => blobs.map((blob) => blob && URL.createObjectURL(blob)));
  let radiograph, heat;
  try {
    [radiograph, heat] = await item.pictures;
  } catch (error) {
    item.pictures = null; // to be asked for again
    return trouble(error);
  }
  if (!isWanted()) return;
  if (!radiograph) return place.replaceChildren(make("p", { class: "faint" }, words("noPicture")));
  const picture = make("div", { class: "picture" }, make("img", { src: radiograph, alt: words("radiographOf", { name: item.name }) }));
  place.replaceChildren(picture);
  if (heat) {
    const overlay = make("img", { src: heat, alt: "", class: "heat" });
    picture.append(overlay);
    place.append(...slider(overlay));
  } else {
    place.append(make("p", { class: "faint" }, words("noHeatMap")));
  }
  place.append(pdfButton(item, trouble));
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

function slider(overlay) {
  const input = make("input", { id: "heat", type: "range", min: "0", max: "100", value: "60", "aria-describedby": "heat-help" });
  const value = make("output", { for: "heat", class: "score" });
  const show = () => {
    overlay.style.opacity = String(input.value / 100);
    value.textContent = `${input.value} %`;
  };
  input.addEventListener("input", show);
  show();
  return [
    make("div", { class: "slider" }, make("label", { for: "heat" }, words("heatMap")), input, value),
    make("p", { class: "faint", id: "heat-help" }, words("heatMapHelp")),
  ];
}

function pdfButton(item, trouble) {
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
  return make("div", {}, make("p", { class: "check" }, box, make("label", { for: "identifiers" }, words("identifiers"))), button);
}

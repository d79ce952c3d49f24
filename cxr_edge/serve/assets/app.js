// The page: files in, results out. Results live in this window; the server forgets pictures after a while.

import * as api from "./api.js";
import { current, MESSAGES, reason, speak, words, percent } from "./messages.js";
import { detail, kind, listItem, make } from "./view.js";

const AT_ONCE = 2; // uploads
const LANGUAGE = "cxr-edge-language";
const $ = (id) => document.getElementById(id);

const state = { items: [], chosen: null, contract: null, limit: Infinity, queue: [], running: 0, done: 0, total: 0, abort: null };

function start() {
  let stored = null;
  try {
    stored = localStorage.getItem(LANGUAGE);
  } catch {
    // a browser that keeps nothing
  }
  speakNow(stored ?? (navigator.language.startsWith("es") ? "es" : "en"));
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      try {
        localStorage.setItem(LANGUAGE, button.dataset.language);
      } catch {
        // as above
      }
      speakNow(button.dataset.language);
    });
  }
  for (const id of ["files", "folder"]) {
    $(id).addEventListener("change", (event) => {
      add([...event.target.files]);
      event.target.value = "";
    });
  }
  prepareDrop($("drop"));
  $("cancel").addEventListener("click", cancel);
  $("csv").addEventListener("click", exportCsv);
  $("clear").addEventListener("click", clear);
  learnModel();
}

function speakNow(language) {
  speak(language);
  document.documentElement.lang = current();
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = words(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", words(element.dataset.label));
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === current()));
  }
  showStatement();
  document.title = `${words("title")} · cxr-edge`;
  showWork();
  showList();
  showDetail();
}

async function learnModel() {
  try {
    const found = await api.model();
    state.contract = found.contract;
    state.limit = found.limits.max_body_bytes;
    $("model").textContent = `${found.contract.identity.name} ${found.contract.identity.version}`;
    showStatement();
    showDetail();
  } catch (error) {
    if (await wantsToken(error)) return learnModel();
    trouble(error);
  }
}

/** The model's own sentence, which says it in English; before it the same in the reader's language. */
function showStatement() {
  const statement = state.contract?.intended_use.statement ?? "";
  $("own-words").hidden = current() === "en" && statement !== "";
  $("statement").textContent = statement;
}

function prepareDrop(area) {
  for (const name of ["dragenter", "dragover"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault(); // a file dropped beside the area must not replace the page
      area.classList.toggle("over", area.contains(event.target));
    });
  }
  document.addEventListener("dragleave", () => area.classList.remove("over"));
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    area.classList.remove("over");
    add(await droppedFiles(event.dataTransfer));
  });
}

/** Files, those in dropped folders too. */
async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map(filesIn))).flat();
}

async function filesIn(entry) {
  if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!part.length) return (await Promise.all(found.map(filesIn))).flat();
    found.push(...part);
  }
}

function add(files) {
  $("trouble").hidden = true;
  if (!files.length) return say(words("noFiles"));
  if (!state.running && !state.queue.length) Object.assign(state, { done: 0, total: 0, abort: new AbortController() });
  state.queue.push(...files);
  state.total += files.length;
  showWork();
  while (state.running < AT_ONCE && state.queue.length) work();
}

async function work() {
  state.running += 1;
  const { signal } = state.abort;
  while (state.queue.length && !signal.aborted) {
    const file = state.queue.shift();
    try {
      finish(file, await answered(file, signal));
    } catch (error) {
      if (error.name === "AbortError") break;
      state.queue.length = 0; // what failed once fails for the others, too
      trouble(error);
      break;
    }
    state.done += 1;
    showWork();
  }
  state.running -= 1;
  showWork();
}

/** The row of a file; asks for the token, and waits for a busy server. */
async function answered(file, signal) {
  if (file.size > state.limit) return tooLarge(); // not worth sending
  for (;;) {
    try {
      return await api.predict(file, signal);
    } catch (error) {
      if (error.status === 413) return tooLarge();
      if (error.status === 503 || error.status === 429) {
        const seconds = error.retryAfter ?? 2;
        say(words("busy", { seconds }));
        await pause(seconds * 1000, signal);
      } else if (!(await wantsToken(error))) {
        throw error;
      }
    }
  }
}

const tooLarge = () => {
  const limit = Math.round(state.limit / 1e6);
  return { status: "rejected", reason: { code: "body_too_large", message: words("tooLarge", { limit }) }, gate: null };
};

const pause = (ms, signal) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(new DOMException("", "AbortError"))), { once: true });
  });

function finish(file, row) {
  const item = { name: file.webkitRelativePath || file.name, row };
  state.items.unshift(item);
  const score = row.status === "rejected" ? "" : percent(row.probability);
  say(words({ positive: "saidPositive", negative: "saidNegative", rejected: "saidRejected" }[kind(row)], { name: item.name, score }));
  if (state.chosen === null || state.total === 1) state.chosen = item;
  $("columns").hidden = false;
  showList();
  if (state.chosen === item) showDetail();
}

function cancel() {
  state.queue.length = 0;
  state.abort?.abort();
  showWork();
}

function clear() {
  cancel();
  Object.assign(state, { items: [], chosen: null });
  $("columns").hidden = true;
  $("detail").replaceChildren();
  $("files").focus();
}

function showWork() {
  const atWork = state.running > 0 || state.queue.length > 0;
  $("work").hidden = !atWork;
  $("work-text").textContent = words("working", { done: state.done, total: state.total });
  $("bar").max = Math.max(state.total, 1);
  $("bar").value = state.done;
}

function showList() {
  const items = state.items.map((item) =>
    listItem(item, item === state.chosen, () => {
      state.chosen = item;
      showList();
      showDetail();
      $("detail").focus({ preventScroll: false });
    }),
  );
  $("list").replaceChildren(...items);
}

function showDetail() {
  const item = state.chosen;
  if (!item) return;
  $("detail").replaceChildren(...detail(item, state.contract));
  const place = $("detail").querySelector(".pictures");
  if (place && item.row.radiograph) showPictures(item, place);
}

async function showPictures(item, place) {
  const { radiograph: gray, heatmap } = item.row;
  item.pictures ??= Promise.all([api.kept(gray), heatmap && api.kept(heatmap)]).then((blobs) => blobs.map((blob) => blob && URL.createObjectURL(blob)));
  let radiograph, heat;
  try {
    [radiograph, heat] = await item.pictures;
  } catch (error) {
    return trouble(error);
  }
  if (state.chosen !== item) return;
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
  place.append(pdfButton(item));
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

function pdfButton(item) {
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

function exportCsv() {
  const rows = state.items.map(({ name, row }) => [
    name, row.status, row.label ?? "", row.probability ?? "", row.positive ?? "", row.operating_point?.name ?? "",
    row.operating_point?.threshold ?? "", row.gate?.status ?? "", row.reason?.code ?? "",
    row.model ? `${row.model.name} ${row.model.version}` : "", row.source?.content_sha256 ?? "",
  ]);
  const text = [MESSAGES[current()].csvHead, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
  save(new Blob(["\ufeff", text, "\r\n"], { type: "text/csv;charset=utf-8" }), "cxr-edge.csv");
}

/** A cell that no spreadsheet takes for a formula. */
function cell(value) {
  const text = typeof value === "number" || typeof value === "boolean" ? String(value) : String(value).replace(/^[=+\-@\t\r]/, "'$&");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Whether the server wants a token, and the reader gave one. */
async function wantsToken(error) {
  if (error.status !== 401) return false;
  const dialog = $("token");
  if (!dialog.open) {
    $("token-value").value = "";
    dialog.showModal();
  }
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  const value = $("token-value").value.trim();
  if (!value) return false;
  api.keepToken(value);
  return true;
}

function trouble(error) {
  const { status } = error;
  const known = error.problem?.reason && reason(error.problem.reason, error.message);
  const text = status === 0 ? words("offline") : status === 401 ? words("badToken") : known ?? (status ? words("failed", { status }) : error.message);
  $("trouble").textContent = text;
  $("trouble").hidden = false;
}

function say(text) {
  $("said").textContent = text;
}

start();

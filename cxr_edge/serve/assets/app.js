// The page: files in, results out. Results live in this window; the server forgets pictures after a while.

import * as api from "./api.js";
import { csvOf } from "./csv.js";
import { current, percent, reason, speak, words } from "./messages.js";
import { forgetPictures, save, showPictures } from "./pictures.js";
import { detail, kind, listItem } from "./view.js";

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
  $("csv").addEventListener("click", () => save(csvOf(state.items), "cxr-edge.csv"));
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
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    area.classList.remove("over");
    droppedFiles(event.dataTransfer).then(add, trouble);
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
  if (!state.contract) learnModel(); // it could not be asked before
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
  if (!state.running && state.done < state.total) tellLeftOut();
}

/** A list that is not complete must not look so. */
function tellLeftOut() {
  const told = $("trouble").hidden ? "" : `${$("trouble").textContent} `;
  $("trouble").textContent = told + words("leftOut", { count: state.total - state.done, total: state.total });
  $("trouble").hidden = false;
}

/** The row of a file; asks for the token, and waits for a busy server. */
async function answered(file, signal) {
  if (file.size > state.limit) return tooLarge(); // not worth sending
  for (;;) {
    try {
      return await api.predict(file, signal);
    } catch (error) {
      if (error.status === 413) return tooLarge();
      if (error.isBusy) {
        const seconds = error.retryAfter ?? 2;
        $("work-text").textContent = words("busy", { seconds });
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
  state.items.forEach(forgetPictures);
  Object.assign(state, { items: [], chosen: null, done: 0, total: 0 });
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
  const focused = [...$("list").children].findIndex((element) => element.contains(document.activeElement));
  const grown = items.length - $("list").children.length; // new ones stand first
  $("list").replaceChildren(...items);
  if (focused >= 0) items[focused + grown]?.firstChild.focus({ preventScroll: true });
}

function showDetail() {
  const item = state.chosen;
  if (!item) return;
  $("detail").replaceChildren(...detail(item, state.contract));
  const place = $("detail").querySelector(".pictures");
  if (place && item.row.radiograph) showPictures(item, place, () => state.chosen === item, trouble);
}

/** Whether the server wants a token, and the reader gave one. */
async function wantsToken(error) {
  if (error.status !== 401) return false;
  const dialog = $("token");
  if (!dialog.open) {
    $("token-value").value = "";
    $("token-wrong").hidden = !api.hasToken();
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
  $("trouble").textContent = text.replace(/[^.?!]$/, "$&.");
  $("trouble").hidden = false;
}

function say(text) {
  $("said").textContent = text;
}

start();

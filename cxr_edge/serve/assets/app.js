// The page: files in, results out. Results live in this window; the server forgets pictures after a while.

import * as api from "./api.js";
import { csvOf } from "./csv.js";
import { mayClear, wantsToken } from "./dialogs.js";
import { prepareDrop } from "./drop.js";
import { fill, mark, prepareKeys, rowOf } from "./list.js";
import { current, scores, speak, words } from "./messages.js";
import { forgetPictures, save, showPictures } from "./pictures.js";
import { pause, Queue } from "./queue.js";
import { forgetTrouble, tellLeftOut, trouble } from "./trouble.js";
import { kind } from "./verdict.js";
import { detail } from "./view.js";

const LANGUAGE = "cxr-edge-language";
const $ = (id) => document.getElementById(id);

const state = { items: [], chosen: null, model: null };
const incomplete = () => tellLeftOut(queue.left.length, queue.total);
const queue = new Queue({ analyse, finished, changed: showWork, stopped: trouble, incomplete });

function start() {
  speakNow(storedLanguage() ?? (navigator.language.startsWith("es") ? "es" : "en"));
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      storeLanguage(button.dataset.language);
      speakNow(button.dataset.language);
    });
  }
  for (const id of ["files", "folder"]) {
    $(id).addEventListener("change", (event) => {
      add([...event.target.files]);
      event.target.value = "";
    });
  }
  prepareDrop($("drop"), add, trouble);
  prepareKeys($("list"), (line) => choose(state.items.find((item) => item.line === line)));
  $("cancel").addEventListener("click", () => queue.cancel());
  $("retry").addEventListener("click", () => add(queue.left));
  $("csv").addEventListener("click", () => save(csvOf(state.items), "cxr-edge.csv"));
  $("clear").addEventListener("click", async () => (await mayClear()) && clear());
  $("api").addEventListener("click", describeApi);
  learnModel();
}

function storedLanguage() {
  try {
    return localStorage.getItem(LANGUAGE);
  } catch {
    return null; // a browser that keeps nothing
  }
}

function storeLanguage(language) {
  try {
    localStorage.setItem(LANGUAGE, language);
  } catch {
    // as above
  }
}

function speakNow(language) {
  speak(language);
  document.documentElement.lang = current();
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = words(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", words(element.dataset.label));
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", String(button.dataset.language === current()));
  }
  document.title = `${words("pageTitle")} · cxr-edge`;
  showStatement();
  showWork();
  state.items.forEach(fill);
  showDetail();
}

async function learnModel() {
  try {
    state.model = await api.model();
  } catch (error) {
    if (await wantsToken(error)) return learnModel();
    return trouble(error);
  }
  const { name, version } = state.model.model;
  $("model").textContent = `${name} ${version}`;
  showStatement();
  showDetail();
}

/** What the model is for and how far its scores go; that it is no medical device stands there from the start. */
function showStatement() {
  const notice = words("notice");
  const { text, original } = state.model?.safety_statement[current()] ?? { text: notice, original: null };
  $("notice").textContent = text.startsWith(notice) ? notice : "";
  $("statement").textContent = text.startsWith(notice) ? text.slice(notice.length) : text;
  $("original").textContent = original ? words("statement.original", { text: original }) : "";
}

function add(files) {
  const wanted = [...files];
  forgetTrouble();
  if (!wanted.length) return trouble(new Error(words("noFiles")));
  if (!state.model) learnModel(); // it could not be asked before
  queue.add(wanted);
}

/** The row of a file; asks for the token, and waits for a busy server. */
async function analyse(file, signal) {
  const limit = state.model?.limits.max_body_bytes ?? Infinity;
  if (file.size > limit) return tooLarge(limit); // not worth sending
  for (;;) {
    try {
      return await api.predict(file, signal);
    } catch (error) {
      if (error.status === 413) return tooLarge(limit);
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

function tooLarge(limit) {
  const message = words("tooLarge", { limit: Math.round(limit / 1e6) });
  return { status: "rejected", reason: { code: "body_too_large", message }, gate: null };
}

function finished(file, row) {
  const item = { name: file.webkitRelativePath || file.name, row, at: new Date() };
  state.items.push(item);
  $("list").append(rowOf(item, () => open(item)));
  say(words(`said.${kind(row)}`, { name: item.name, score: row.status === "rejected" ? "" : scores(row)[0] }));
  document.body.classList.add("has-results");
  $("columns").hidden = false;
  if (state.chosen === null || queue.done === 0) choose(item); // the first one of each batch
}

/** Show an item beside the list. */
function choose(item) {
  state.chosen = item;
  mark(state.items, item);
  item.line.scrollIntoView({ block: "nearest" });
  showDetail();
}

/** Show it, and go there. */
function open(item) {
  choose(item);
  $("detail").focus({ preventScroll: true });
  const { top } = $("detail").getBoundingClientRect();
  if (top < 0 || top > window.innerHeight / 2) $("detail").scrollIntoView({ block: "start" });
}

/** Forget everything; nothing stays behind in the page. */
function clear() {
  queue.cancel();
  state.items.forEach(forgetPictures);
  Object.assign(state, { items: [], chosen: null });
  queue.reset();
  for (const id of ["list", "detail", "said"]) $(id).replaceChildren();
  forgetTrouble();
  $("columns").hidden = true;
  document.body.classList.remove("has-results");
  $("files").focus();
}

function showWork() {
  $("work").hidden = !queue.isAtWork;
  $("work-text").textContent = words("working", { done: queue.done, total: queue.total });
  $("bar").max = Math.max(queue.total, 1);
  $("bar").value = queue.done;
}

function showDetail() {
  const item = state.chosen;
  if (!item) return;
  const contract = state.model?.contract;
  $("detail").replaceChildren(...detail(item, contract));
  const place = $("detail").querySelector(".pictures");
  if (place && item.row.radiograph) showPictures({ item, contract, place, isWanted: () => state.chosen === item, trouble });
}

/** A link cannot carry the token. */
async function describeApi(event) {
  if (!api.hasToken()) return;
  event.preventDefault();
  try {
    save(await api.kept("/openapi.json"), "openapi.json");
  } catch (error) {
    trouble(error);
  }
}

function say(text) {
  $("said").textContent = text;
}

start();

// The two questions the page asks: for the token, and whether the list may go.

import * as api from "./api.js";

const $ = (id) => document.getElementById(id);

const closed = (dialog) => new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));

/** Whether the server wants a token, and the reader gave one. */
export async function wantsToken(error) {
  if (error.status !== 401) return false;
  const dialog = $("token");
  if (!dialog.open) {
    $("token-value").value = "";
    $("token-wrong").hidden = !api.hasToken();
    dialog.showModal();
  }
  await closed(dialog);
  const value = $("token-value").value.trim();
  if (!value) return false;
  api.keepToken(value);
  return true;
}

/** Whether the list may be cleared. */
export async function mayClear() {
  const dialog = $("confirm");
  dialog.returnValue = "";
  dialog.showModal();
  await closed(dialog);
  return dialog.returnValue === "clear";
}

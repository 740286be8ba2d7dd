// What can be done with tracks, in lists and on a track's page: delete and undo.

import { ask, page } from "./ask.js";
import { lookAgain } from "./patience.js";
import { localTimes } from "./words.js";

const toast = document.querySelector("#undo");
const list = document.querySelector("#tracks");

/** Show words at the foot of the page, with a way back if there is one. */
export function say(words, { undo = null } = {}) {
  toast.querySelector("p").textContent = words;
  const button = toast.querySelector("[data-do=restore]");
  button.hidden = !undo;
  button.onclick = undo;
  toast.hidden = false;
}

function hideToast() {
  toast.hidden = true;
}

function isEmpty() {
  return ![...list.children].some((row) => !row.hidden);
}

function showEmpty() {
  list.parentElement.querySelector(".empty").hidden = !isEmpty();
  const all = document.querySelector("#all-tracks");
  if (all) all.hidden = isEmpty();
}

/** Delete what `element` shows: it is hidden at once and comes back when that failed or is undone. */
export async function trash(element) {
  const { id, title } = element.dataset;
  try {
    await ask("DELETE", `/tracks/${id}`);
  } catch (problem) {
    say(`“${title}” was not deleted. ${problem.message}`);
    return;
  }
  element.hidden = true;
  element.querySelector("audio")?.pause();
  if (list) showEmpty();
  say(`“${title}” is in the trash.`, { undo: () => restore(element) });
  toast.querySelector("[data-do=restore]").focus();
}

async function restore(element) {
  const { id, title } = element.dataset;
  try {
    await ask("POST", `/tracks/${id}/restore`);
  } catch (problem) {
    say(`“${title}” was not restored. ${problem.message}`);
    return;
  }
  hideToast();
  element.hidden = false;
  if (list) showEmpty();
  element.querySelector("a.title, #title").focus();
}

/** What analysis has found since: the words and the cover of a row, in its place. */
function renewRow(row, fresh) {
  row.dataset.state = fresh.dataset.state;
  row.dataset.title = fresh.dataset.title;
  for (const button of row.querySelectorAll("[data-do]")) {
    const label = fresh.querySelector(`[data-do="${button.dataset.do}"]`).getAttribute("aria-label");
    const isPlaying = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-label", isPlaying ? label.replace("Play", "Pause") : label);
  }
  for (const name of [".thumbnail", ".what"]) {
    const [old, now] = [row.querySelector(name), document.importNode(fresh.querySelector(name), true)];
    if (old.isEqualNode(now)) continue;
    const isHeld = old.contains(document.activeElement);
    old.replaceWith(now);
    if (isHeld) now.querySelector("a").focus();
  }
}

/** Bring the list up to date. Rows that stay are the same elements, so focus and player are not disturbed. */
export async function refresh(newId) {
  const fresh = (await page(location.href)).querySelector("#tracks");
  const rows = new Map([...list.children].map((row) => [row.dataset.id, row]));
  [...fresh.children].forEach((row, index) => {
    const known = rows.get(row.dataset.id);
    const present = known ?? document.importNode(row, true);
    if (known) renewRow(known, row);
    rows.delete(row.dataset.id);
    if (list.children[index] !== present) list.insertBefore(present, list.children[index] ?? null);
    if (row.dataset.id === newId) present.classList.add("new");
  });
  for (const row of rows.values()) if (!row.hidden) row.remove();
  localTimes(list);
  showEmpty();
  watch();
}

const isLookedAt = () => Boolean(list.querySelector('[data-state="analysing"]:not([hidden])'));
let isWatching = false;

/** While a track of the list is still analysed, look whether more is known of it. */
export async function watch() {
  if (isWatching || !isLookedAt()) return;
  isWatching = true;
  await lookAgain(async () => {
    await refresh();
    return !isLookedAt();
  });
  isWatching = false;
}

/** Bring the buttons of lists and of a track's page to life. */
export function trackActions() {
  toast.querySelector("[data-do=close-undo]").addEventListener("click", hideToast);
  document.querySelector("main").addEventListener("click", (event) => {
    const button = event.target.closest("[data-do=trash]");
    if (button) trash(button.closest("[data-id]"));
  });
}

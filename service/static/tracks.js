// What can be done with tracks: delete and undo in lists and on a track's page, rename there.

import { ask, page } from "./ask.js";
import { localTimes } from "./words.js";

const toast = document.querySelector("#undo");
const list = document.querySelector("#tracks");

function say(words, { undo = null } = {}) {
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

/** Bring the list up to date. Rows that stay are the same elements, so focus and player are not disturbed. */
export async function refresh(newId) {
  const fresh = (await page(location.href)).querySelector("#tracks");
  const rows = new Map([...list.children].map((row) => [row.dataset.id, row]));
  [...fresh.children].forEach((row, index) => {
    const present = rows.get(row.dataset.id) ?? document.importNode(row, true);
    rows.delete(row.dataset.id);
    if (list.children[index] !== present) list.insertBefore(present, list.children[index] ?? null);
    if (row.dataset.id === newId) present.classList.add("new");
  });
  for (const row of rows.values()) if (!row.hidden) row.remove();
  localTimes(list);
  showEmpty();
}

function renaming(article) {
  const form = article.querySelector("#rename");
  const field = form.querySelector("input");
  const heading = article.querySelector("#title");
  const trouble = article.querySelector("#trouble");
  const opener = article.querySelector("[data-do=rename]");
  const url = `/tracks/${article.dataset.id}`;
  let etag = null;

  const close = () => {
    form.hidden = true;
    trouble.hidden = true;
    heading.parentElement.hidden = false;
    opener.focus();
  };
  const complain = (problem) => {
    trouble.textContent = problem.message;
    trouble.hidden = false;
  };
  const open = async () => {
    trouble.hidden = true;
    try {
      const { data, etag: version } = await ask("GET", url);
      etag = version;
      field.value = data.title;
    } catch (problem) {
      complain(problem);
      return;
    }
    heading.parentElement.hidden = true;
    form.hidden = false;
    field.select();
  };

  opener.addEventListener("click", open);
  form.querySelector("[data-do=keep-title]").addEventListener("click", close);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      const body = JSON.stringify({ title: field.value.trim() });
      const { data } = await ask("PATCH", url, { body, type: "application/merge-patch+json", ifMatch: etag });
      heading.textContent = data.title;
      article.dataset.title = data.title;
      article.querySelector("audio")?.setAttribute("aria-label", data.title);
      document.title = `${data.title} · yarrr`;
      close();
    } catch (problem) {
      complain(problem);
    }
  });
}

/** Bring the buttons of lists and of a track's page to life. */
export function trackActions() {
  const article = document.querySelector("#track");
  if (article) renaming(article);
  toast?.querySelector("[data-do=close-undo]").addEventListener("click", hideToast);
  document.querySelector("main").addEventListener("click", (event) => {
    const button = event.target.closest("[data-do=trash]");
    if (button) trash(button.closest("[data-id]"));
  });
}

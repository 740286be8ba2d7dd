// The page of one collection: rename, delete, reorder, take out, play from the beginning.

import { ask, page } from "./ask.js";
import { say } from "./tracks.js";

const AT_ONCE = 500;
const LAST_TRIES = 2;

/** Make the page of a collection one that can be changed. */
export function arranging(article) {
  const url = `/collections/${article.dataset.id}`;
  const list = article.querySelector("#items");

  const mark = () => {
    const isFirstPage = !document.querySelector(".pages [rel=prev]");
    const isLastPage = !document.querySelector(".pages [rel=next]");
    const rows = [...list.children];
    rows.forEach((row, index) => {
      row.querySelector("[data-do=up]").disabled = isFirstPage && index === 0;
      row.querySelector("[data-do=down]").disabled = isLastPage && index === rows.length - 1;
    });
  };

  /** Every item's number, in order, and the version that this is the order of. */
  const order = async () => {
    const ids = [];
    let next = `${url}/tracks?limit=${AT_ONCE}&fields=id`;
    let version = null;
    while (next) {
      const { data, etag } = await ask("GET", next);
      ids.push(...data.items.map((each) => each.item_id));
      next = data.next;
      version ??= etag;
    }
    return { ids, version };
  };
  const swapped = async (id, step, triesLeft = LAST_TRIES) => {
    const { ids, version } = await order();
    const at = ids.indexOf(id);
    const other = ids[at + step];
    if (at < 0 || other === undefined) return null;
    [ids[at], ids[at + step]] = [other, id];
    try {
      const body = JSON.stringify({ item_ids: ids });
      await ask("PUT", `${url}/tracks`, { body, type: "application/json", ifMatch: version });
    } catch (problem) {
      if (problem.status === 412 && triesLeft) return swapped(id, step, triesLeft - 1);
      throw problem;
    }
    return other;
  };
  const move = async (row, button, step) => {
    const other = await swapped(Number(row.dataset.id), step);
    const neighbour = step < 0 ? row.previousElementSibling : row.nextElementSibling;
    if (other === null || neighbour?.dataset.id !== String(other)) {
      location.reload(); // it was changed elsewhere, or stands on another page now
      return;
    }
    if (step < 0) neighbour.before(row);
    else neighbour.after(row);
    mark();
    (button.disabled ? row.querySelector("[data-do=up]:enabled, [data-do=down]:enabled") : button)?.focus();
    say(`“${row.dataset.title}” stands ${step < 0 ? "before" : "behind"} “${neighbour.dataset.title}” now.`);
  };
  const remove = async (row) => {
    await ask("DELETE", `${url}/tracks/${row.dataset.id}`);
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    say(`“${row.dataset.title}” was taken out. The track stays.`);
    if (next) next.querySelector("[data-do=remove]").focus();
    else location.reload();
    mark();
    const fresh = await page(location.href);
    article.querySelector("#part-sum").textContent = fresh.querySelector("#part-sum").textContent;
  };
  const deeds = {
    up: (row, button) => move(row, button, -1),
    down: (row, button) => move(row, button, 1),
    remove,
  };
  let isBusy = false;
  list.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-do]");
    const deed = button && deeds[button.dataset.do];
    if (!deed || isBusy) return;
    isBusy = true;
    try {
      await deed(button.closest("[data-id]"), button);
    } catch (problem) {
      say(problem.message);
    }
    isBusy = false;
  });
  article.querySelector("[data-do=play-all]")?.addEventListener("click", () => list.querySelector("[data-do=play]").click());
  mark();
  renaming(article, url);
  deleting(article, url);
}

function renaming(article, url) {
  const opener = article.querySelector("[data-do=rename]");
  const form = article.querySelector("#rename");
  const fields = [...form.querySelectorAll("input")];
  const trouble = article.querySelector("#trouble");
  let etag = null;

  const faultOf = (field) => form.querySelector(`#rename-${field.name}-fault`);
  const settle = () => {
    trouble.hidden = true;
    for (const field of fields) {
      field.removeAttribute("aria-invalid");
      faultOf(field).hidden = true;
    }
  };
  const complain = (words) => {
    trouble.textContent = words;
    trouble.hidden = false;
  };
  const learn = async () => {
    const { data, etag: version } = await ask("GET", url);
    etag = version;
    return data;
  };
  const close = () => {
    settle();
    form.hidden = true;
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  };
  const open = async () => {
    settle();
    try {
      const data = await learn();
      for (const field of fields) field.value = data[field.name];
    } catch (problem) {
      complain(problem.message);
      return;
    }
    form.hidden = false;
    opener.setAttribute("aria-expanded", "true");
    fields[0].select();
  };
  const refused = async (problem) => {
    if (problem.status === 412) {
      const now = await learn().catch(() => null);
      const words = now ? ` Its name is “${now.name}” now.` : "";
      complain(`${problem.message}${words} Save again to write yours over it.`);
      return;
    }
    for (const { pointer, detail } of problem.document?.errors ?? []) {
      const field = fields.find((each) => `/${each.name}` === pointer);
      if (!field) continue;
      field.setAttribute("aria-invalid", "true");
      faultOf(field).textContent = detail;
      faultOf(field).hidden = false;
    }
    const first = fields.find((field) => field.hasAttribute("aria-invalid"));
    if (first) first.focus();
    else complain(problem.message);
  };

  opener.addEventListener("click", () => (form.hidden ? open() : close()));
  form.querySelector("[data-do=keep]").addEventListener("click", close);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    settle();
    const body = JSON.stringify(Object.fromEntries(fields.map((field) => [field.name, field.value])));
    try {
      await ask("PATCH", url, { body, type: "application/merge-patch+json", ifMatch: etag });
      location.reload();
    } catch (problem) {
      await refused(problem);
    }
  });
}

function deleting(article, url) {
  const dialog = document.querySelector("#deleting");
  const fault = dialog.querySelector(".fault");
  article.querySelector("[data-do=delete]").addEventListener("click", () => dialog.showModal());
  dialog.querySelector("[data-do=close-dialog]").addEventListener("click", () => dialog.close());
  dialog.querySelector("[data-do=really]").addEventListener("click", async () => {
    try {
      await ask("DELETE", url);
      location.assign("/collections");
    } catch (problem) {
      fault.textContent = problem.message;
      fault.hidden = false;
    }
  });
}

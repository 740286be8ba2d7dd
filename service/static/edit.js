// Words and cover of a track, changed on its page.

import { ask } from "./ask.js";
import { renew } from "./track.js";
import { say } from "./tracks.js";

const MAX_PICTURE_BYTES = 10 * 1024 * 1024;
const LINE_BREAKS = /\r\n?/g;
const PICTURES = ["image/jpeg", "image/png", "image/webp", "image/gif"];

/** Make the page of a track one that can be edited. */
export function editing(article) {
  const url = `/tracks/${article.dataset.id}`;
  const opener = article.querySelector("[data-do=edit]");
  const panel = article.querySelector("#edit");
  const form = panel.querySelector("#words");
  const fields = [...form.querySelectorAll("[data-word]")];
  const labels = labelling(form.querySelector("#labels"), panel.querySelector("#label-row"));
  const more = form.querySelector("details");
  const trouble = article.querySelector("#trouble");
  let track = null;
  let etag = null;

  const faultOf = (field) => form.querySelector(`#edit-${field.name}-fault`);
  const offerOf = (field) => form.querySelector(`[data-of="${field.name}"]`);
  const said = (field) => track.tags[field.name] ?? null;
  const textOf = (word) => (word === null ? "" : String(word).replace(LINE_BREAKS, "\n").trim());

  const learn = async () => {
    const { data, etag: version } = await ask("GET", url);
    [track, etag] = [data, version];
  };
  const settle = () => {
    trouble.hidden = true;
    labels.settle();
    for (const field of fields) {
      field.removeAttribute("aria-invalid");
      faultOf(field).hidden = true;
    }
  };
  const complain = (message) => {
    trouble.textContent = message;
    trouble.hidden = false;
    trouble.scrollIntoView({ block: "nearest" });
  };
  const accuse = (field, message) => {
    field.setAttribute("aria-invalid", "true");
    if (more.contains(field)) more.open = true;
    faultOf(field).textContent = message;
    faultOf(field).hidden = false;
  };
  const tell = (field, message) => {
    if (more.contains(field)) more.open = true;
    faultOf(field).textContent = message;
    faultOf(field).hidden = false;
  };
  const offer = (field) => {
    const button = offerOf(field);
    button.textContent = `The file says “${textOf(said(field))}”`;
    button.hidden = said(field) === null || field.value.trim() === textOf(said(field));
  };

  const open = async () => {
    settle();
    try {
      await learn();
    } catch (problem) {
      complain(problem.message);
      return;
    }
    for (const field of fields) {
      field.value = textOf(track[field.name]);
      offer(field);
    }
    labels.show(track.labels);
    panel.hidden = false;
    opener.setAttribute("aria-expanded", "true");
    fields[0].select();
  };
  const close = () => {
    settle();
    panel.hidden = true;
    opener.setAttribute("aria-expanded", "false");
    opener.focus();
  };

  /** What the user says now; null where it is what the file says, or nothing. */
  const word = (field) => {
    const text = field.value.trim();
    if (text === textOf(said(field))) return null;
    if (field.name === "title") return text || null;
    if (field.type !== "number") return text;
    return text === "" ? null : Number(text);
  };
  const patch = () => {
    const changed = fields.filter((field) => field.value.trim() !== textOf(track[field.name]));
    const words = Object.fromEntries(changed.map((field) => [field.name, word(field)]));
    const said = labels.patch(track.labels);
    return Object.keys(said).length ? { ...words, labels: said } : words;
  };
  /** After somebody else's change: what was not touched here follows it, what was is told at its field. */
  const followOthers = (before) => {
    for (const field of fields) {
      const [old, now, mine] = [textOf(before[field.name]), textOf(track[field.name]), field.value.trim()];
      if (old === now) continue;
      if (mine === old) field.value = now;
      else if (mine !== now) tell(field, now ? `Somebody made it “${now}”.` : "Somebody emptied it.");
    }
    labels.follow(before.labels, track.labels);
    fields.forEach(offer);
  };
  const refused = async (problem) => {
    if (problem.status === 412) {
      const before = track;
      await Promise.all([learn(), renew()]).catch(() => {});
      followOthers(before);
      complain(`Somebody changed it in the meantime. Above is what it is now; what you did not touch follows it. Save again to write yours over it.`);
      return;
    }
    const faults = problem.document?.errors ?? [];
    for (const { pointer, detail } of faults) {
      const field = fields.find((each) => `/${each.name}` === pointer);
      if (field) accuse(field, detail);
      else if (pointer.startsWith("/labels/")) labels.accuse(pointer.slice("/labels/".length), detail);
    }
    const first = form.querySelector("[aria-invalid=true]");
    if (first && more.contains(first)) more.open = true;
    if (first) first.focus();
    else complain(problem.message);
  };
  let isSaving = false;
  const save = async () => {
    if (isSaving) return;
    isSaving = true;
    await saveNow();
    isSaving = false;
  };
  const saveNow = async () => {
    settle();
    const wrong = fields.find((field) => field.validity.badInput);
    if (wrong) {
      accuse(wrong, "Not a number.");
      wrong.focus();
      return;
    }
    const nameless = labels.check();
    if (nameless) {
      more.open = true;
      nameless.focus();
      return;
    }
    const body = JSON.stringify(patch());
    try {
      if (body !== "{}") await ask("PATCH", url, { body, type: "application/merge-patch+json", ifMatch: etag });
    } catch (problem) {
      await refused(problem);
      return;
    }
    await renew().catch(() => {});
    close();
  };

  opener.addEventListener("click", () => (panel.hidden ? open() : close()));
  panel.querySelector("[data-do=keep]").addEventListener("click", close);
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
  });
  form.addEventListener("input", (event) => {
    if (fields.includes(event.target)) offer(event.target);
  });
  form.querySelector("[data-do=label]").addEventListener("click", () => labels.add());
  form.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do=take]");
    if (!button) return;
    const field = form.elements[button.dataset.of];
    field.value = textOf(said(field));
    button.hidden = true;
    field.focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });
  choosingCover(panel, `${url}/cover`);
}

/** The labels of a track as rows of a name and a text. */
function labelling(list, template) {
  const parts = (row) => ["name", "text"].map((part) => row.querySelector(`[data-label=${part}]`));
  const said = () =>
    [...list.children]
      .map((row) => parts(row).map((input) => input.value.trim()))
      .filter(([name, text]) => name || text);
  const accuse = (row, message) => {
    const fault = row.querySelector(".fault");
    fault.textContent = message;
    fault.hidden = false;
    parts(row)[0].setAttribute("aria-invalid", "true");
  };
  const row = (name, text) => {
    const item = template.content.firstElementChild.cloneNode(true);
    const [first, second] = parts(item);
    [first.value, second.value] = [name, text];
    if (name) item.querySelector("button").setAttribute("aria-label", `Remove the label ${name}`);
    item.querySelector("button").addEventListener("click", () => {
      const next = (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("input");
      item.remove();
      (next ?? list.parentElement.querySelector("[data-do=label]")).focus();
    });
    list.append(item);
    return item;
  };
  const show = (labels) => {
    list.replaceChildren();
    for (const [name, text] of Object.entries(labels)) row(name, text);
  };
  const patch = (labels) => {
    const wanted = Object.fromEntries(said());
    const gone = Object.keys(labels).filter((name) => !(name in wanted));
    const changed = Object.entries(wanted).filter(([name, text]) => labels[name] !== text);
    return Object.fromEntries([...gone.map((name) => [name, null]), ...changed]);
  };
  return {
    show,
    patch,
    add: () => parts(row("", ""))[0].focus(),
    settle: () => {
      for (const item of list.children) {
        item.querySelector(".fault").hidden = true;
        parts(item)[0].removeAttribute("aria-invalid");
      }
    },
    /** The field that keeps the labels from being sent, if there is one. */
    check: () => {
      const seen = new Set();
      for (const item of list.children) {
        const [name, text] = parts(item).map((input) => input.value.trim());
        if (name ? seen.has(name) : text) {
          accuse(item, name ? "There is a label of that name already." : "Give the label a name.");
          return parts(item)[0];
        }
        seen.add(name);
      }
      return null;
    },
    accuse: (name, message) => {
      const item = [...list.children].find((each) => parts(each)[0].value.trim() === name) ?? list.lastElementChild;
      if (item) accuse(item, message);
    },
    /** Somebody else changed the labels: mine are theirs, and over them what I have changed of the old ones. */
    follow: (before, now) => {
      const merged = { ...now, ...patch(before) };
      show(Object.fromEntries(Object.entries(merged).filter(([, text]) => text !== null)));
    },
  };
}

function choosingCover(panel, url) {
  const input = panel.querySelector("#picture");
  const fault = panel.querySelector("#picture-fault");
  const group = panel.querySelector(".picture");

  const send = async (words, ...request) => {
    fault.hidden = true;
    group.setAttribute("aria-busy", "true");
    try {
      await ask(...request);
      await renew().catch(() => {});
      say(words);
    } catch (problem) {
      fault.textContent = problem.message;
      fault.hidden = false;
    }
    group.removeAttribute("aria-busy");
    input.value = "";
    input.focus();
  };
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (!file) return;
    if (file.size > MAX_PICTURE_BYTES) {
      fault.textContent = "Too large. A cover has at most 10 MiB.";
      fault.hidden = false;
      return;
    }
    const type = PICTURES.includes(file.type) ? file.type : "application/octet-stream";
    send("This is the cover now.", "PUT", url, { body: file, type });
  });
  panel.addEventListener("click", (event) => {
    if (event.target.closest("[data-do=uncover]")) send("The chosen cover was removed.", "DELETE", url);
  });
}

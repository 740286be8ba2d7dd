// Words and cover of a track, changed on its page.

import { ask } from "./ask.js";
import { renew } from "./track.js";
import { say } from "./tracks.js";

const MAX_PICTURE_BYTES = 10 * 1024 * 1024;
const PICTURES = ["image/jpeg", "image/png", "image/webp", "image/gif"];

/** Make the page of a track one that can be edited. */
export function editing(article) {
  const url = `/tracks/${article.dataset.id}`;
  const opener = article.querySelector("[data-do=edit]");
  const panel = article.querySelector("#edit");
  const form = panel.querySelector("#words");
  const fields = [...form.querySelectorAll("input")];
  const trouble = article.querySelector("#trouble");
  let track = null;
  let etag = null;

  const faultOf = (field) => form.querySelector(`#edit-${field.name}-fault`);
  const offerOf = (field) => form.querySelector(`[data-of="${field.name}"]`);
  const said = (field) => track.tags[field.name] ?? null;
  const textOf = (word) => (word === null ? "" : String(word));

  const learn = async () => {
    const { data, etag: version } = await ask("GET", url);
    [track, etag] = [data, version];
  };
  const settle = () => {
    trouble.hidden = true;
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
    return Object.fromEntries(changed.map((field) => [field.name, word(field)]));
  };
  const refused = async (problem) => {
    if (problem.status === 412) {
      await Promise.all([learn(), renew()]).catch(() => {});
      fields.forEach(offer);
      complain(`${problem.message} Above is what it is now; save again to write yours over it.`);
      return;
    }
    const faults = problem.document?.errors ?? [];
    for (const { pointer, detail } of faults) {
      const field = fields.find((each) => `/${each.name}` === pointer);
      if (field) accuse(field, detail);
    }
    const first = fields.find((field) => field.hasAttribute("aria-invalid"));
    if (first) first.focus();
    else complain(problem.message);
  };
  const save = async () => {
    settle();
    const wrong = fields.find((field) => field.validity.badInput);
    if (wrong) {
      accuse(wrong, "Not a number.");
      wrong.focus();
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
  form.addEventListener("input", (event) => offer(event.target));
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

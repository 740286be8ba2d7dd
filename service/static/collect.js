// “Add to a collection”: a dialog that names the latest ones, and can make another.

import { ask } from "./ask.js";
import { say } from "./tracks.js";

const MOST = 100;
const JSON_TYPE = "application/json";

/** Bring the buttons that open `dialog` to life. */
export function collecting(dialog) {
  const heading = dialog.querySelector("h2");
  const fault = dialog.querySelector(".fault");
  const list = dialog.querySelector("ul");
  const form = dialog.querySelector("form");
  let track = null;

  const complain = (problem) => {
    fault.textContent = problem.message;
    fault.hidden = false;
  };
  const row = ({ id, name }) => {
    const button = document.createElement("button");
    button.type = "button";
    const words = document.createElement("span");
    words.textContent = name;
    button.title = name;
    button.append(words);
    button.addEventListener("click", () => attempt(() => add(id, name)));
    const item = document.createElement("li");
    item.append(button);
    return item;
  };
  let isBusy = false;
  const attempt = async (deed) => {
    if (isBusy) return; // a second press adds nothing a second time
    isBusy = true;
    fault.hidden = true;
    try {
      await deed();
    } catch (problem) {
      complain(problem);
    }
    isBusy = false;
  };
  const add = async (id, name) => {
    const body = JSON.stringify({ track_id: track.id });
    await ask("POST", `/collections/${id}/tracks`, { body, type: JSON_TYPE });
    dialog.close();
    say(`“${track.title}” was added to “${name}”.`);
  };
  const make = async () => {
    const name = form.elements.name.value;
    const { data } = await ask("POST", "/collections", { body: JSON.stringify({ name }), type: JSON_TYPE });
    list.prepend(row(data)); // if adding fails, it is there all the same
    await add(data.id, data.name);
  };
  const open = async (element) => {
    track = { id: element.dataset.id, title: element.dataset.title };
    heading.textContent = `Add “${track.title}” to`;
    list.replaceChildren();
    form.reset();
    dialog.showModal();
    await attempt(async () => {
      const { data } = await ask("GET", `/collections?sort=-updated_at&limit=${MOST}&fields=id,name`);
      list.replaceChildren(...data.items.map(row));
      (list.querySelector("button") ?? form.elements.name).focus();
    });
  };

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(make);
  });
  dialog.querySelector("[data-do=close-dialog]").addEventListener("click", () => dialog.close());
  document.querySelector("main").addEventListener("click", (event) => {
    const button = event.target.closest("[data-do=collect]");
    if (button) open(button.closest("[data-id]"));
  });
}

// One player for a list of tracks; when one ends, the next begins.

import { ask } from "./ask.js";
import { say } from "./tracks.js";

/** Make the play buttons of `list` play in `bar`. */
export function player(bar, list) {
  const audio = bar.querySelector("audio");
  const link = bar.querySelector("a");
  let current = null;

  const buttonOf = (id) => list.querySelector(`[data-id="${CSS.escape(id)}"] [data-do=play]`);
  const show = () => {
    for (const button of list.querySelectorAll("[data-do=play]")) {
      const { id, title } = button.closest("[data-id]").dataset;
      const isPlaying = id === current && !audio.paused;
      button.setAttribute("aria-pressed", String(isPlaying));
      button.setAttribute("aria-label", `${isPlaying ? "Pause" : "Play"} ${title}`);
    }
  };
  const play = async () => {
    try {
      await audio.play();
    } catch {
      show(); // the browser forbids it, or the source is gone: the player's own controls tell
    }
  };
  const load = (row) => {
    current = row.dataset.id;
    link.textContent = row.dataset.title;
    const track = row.dataset.track ?? current; // the same track may stand in a collection twice
    link.href = `/tracks/${track}`;
    audio.src = `/tracks/${track}/audio`;
    audio.setAttribute("aria-label", row.dataset.title);
    bar.hidden = false;
    document.body.classList.add("with-player");
    play();
  };
  const close = () => {
    const button = current && buttonOf(current);
    audio.pause();
    audio.removeAttribute("src");
    audio.load();
    current = null;
    bar.hidden = true;
    document.body.classList.remove("with-player");
    show();
    button?.focus();
  };

  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do=play]");
    if (!button) return;
    const row = button.closest("[data-id]");
    if (row.dataset.id !== current) load(row);
    else if (audio.paused) play();
    else audio.pause();
  });
  bar.querySelector("[data-do=close-player]").addEventListener("click", close);
  for (const name of ["play", "pause", "emptied"]) audio.addEventListener(name, show);
  const next = () => {
    const row = current && list.querySelector(`[data-id="${CSS.escape(current)}"] ~ li:not([hidden])`);
    if (row) load(row);
    else show();
  };
  audio.addEventListener("ended", next);
  audio.addEventListener("error", async () => {
    if (!current) return; // it was closed
    const failed = current;
    say(`“${link.textContent}” cannot be played.`);
    try {
      await ask("GET", link.getAttribute("href")); // who is logged out is led to the login
    } catch (problem) {
      if (!problem.status) return; // nor could any other
    }
    if (current === failed) next();
  });
}

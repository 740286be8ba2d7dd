// What the pages do when there is JavaScript. Without it they work as plain links and forms.

import { collecting } from "./collect.js";
import { arranging } from "./collection.js";
import { editing } from "./edit.js";
import { player } from "./player.js";
import { watchTrack } from "./track.js";
import { refresh, trackActions, watch } from "./tracks.js";
import { dropZone } from "./uploads.js";
import { waveform } from "./wave.js";
import { localTimes } from "./words.js";

document.documentElement.classList.add("js");
localTimes(document);

const list = document.querySelector("#tracks");
const form = document.querySelector("#upload");
const article = document.querySelector("#track");
const dialog = document.querySelector("#collecting");
const collection = document.querySelector("#collection");

if (document.querySelector("#undo")) trackActions();
if (list) {
  player(document.querySelector("#player"), list);
  watch();
}
if (dialog) collecting(dialog);
if (collection) {
  player(document.querySelector("#player"), collection.querySelector("#items"));
  arranging(collection);
}
if (form) {
  // A list that cannot be refreshed is no reason to call a stored upload failed.
  dropZone(form, document.querySelector("#queue"), (id) => refresh(id).catch(() => {}));
}
if (article) {
  const slider = article.querySelector("#wave");
  if (slider) {
    editing(article);
    waveform(slider, article.querySelector("audio"), () => article.querySelector("#part-wave"));
  }
  watchTrack();
}

// What the pages do when there is JavaScript. Without it they work as plain links and forms.

import { player } from "./player.js";
import { refresh, trackActions } from "./tracks.js";
import { dropZone } from "./uploads.js";
import { localTimes } from "./words.js";

document.documentElement.classList.add("js");
localTimes(document);

const list = document.querySelector("#tracks");
const form = document.querySelector("#upload");

if (document.querySelector("#undo")) trackActions();
if (list) player(document.querySelector("#player"), list);
if (form) {
  // A list that cannot be refreshed is no reason to call a stored upload failed.
  dropZone(form, document.querySelector("#queue"), (id) => refresh(id).catch(() => {}));
}

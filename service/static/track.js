// The page of one track keeps itself up to date, part by part, so that neither sound nor focus are lost.

import { page } from "./ask.js";
import { lookAgain } from "./patience.js";
import { localTimes } from "./words.js";

let turn = 0;

/** Show in every part of the page what the service knows now. Tells `document` with the event "renewed". */
export async function renew() {
  turn += 1;
  const mine = turn;
  const fresh = await page(location.href);
  if (mine !== turn) return; // somebody asked later and will show what is newer
  for (const part of document.querySelectorAll("[data-part]")) {
    const found = fresh.getElementById(part.id);
    if (!found) continue;
    const now = document.importNode(found, true);
    localTimes(now);
    if (!now.isEqualNode(part)) part.replaceWith(now);
  }
  const article = document.querySelector("#track");
  article.dataset.title = fresh.querySelector("#track").dataset.title;
  article.querySelector("audio")?.setAttribute("aria-label", article.dataset.title);
  document.title = fresh.title;
  document.dispatchEvent(new Event("renewed"));
}

const isLookedAt = () => document.querySelector("#part-state").dataset.state === "analysing";

/** While the track is still analysed, look whether more is known of it. */
export function watchTrack() {
  if (!isLookedAt()) return;
  lookAgain(async () => {
    await renew();
    return !isLookedAt();
  });
}

// Looking again until something has come, without being a nuisance.

const PAUSES_S = [0.5, 1, 1.5, 2, 3, 5, 8, 13, 21, 34];

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

const shown = () =>
  new Promise((resolve) => {
    if (!document.hidden) resolve();
    else document.addEventListener("visibilitychange", () => resolve(shown()), { once: true });
  });

/** Await `look` until it gives true, each time after a longer pause and only while somebody sees the page; then give up. */
export async function lookAgain(look) {
  for (const seconds of PAUSES_S) {
    await pause(seconds);
    await shown();
    try {
      if (await look()) return;
    } catch {
      // The service did not answer; the next look is later anyway.
    }
  }
}

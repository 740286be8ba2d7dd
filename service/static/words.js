// Sizes and times as people read them.

const UNITS = ["B", "kB", "MB", "GB", "TB"];
const MOMENT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

export function sizeWords(bytes) {
  let unit = 0;
  while (bytes >= 999.5 && unit < UNITS.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes.toFixed(unit && bytes < 99.95 ? 1 : 0)} ${UNITS[unit]}`;
}

/** Show every moment below `root` in the reader's own time zone. */
export function localTimes(root) {
  for (const element of root.querySelectorAll('time[datetime$="Z"]')) {
    const moment = new Date(element.dateTime);
    if (!Number.isNaN(moment.getTime())) element.textContent = MOMENT.format(moment);
  }
}

/** Seconds as a clock shows them. */
export function clockWords(seconds) {
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const tail = String(rest).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

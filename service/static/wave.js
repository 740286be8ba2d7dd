// The waveform of a track: it shows where the sound is, and is a slider to go elsewhere.

import { ask } from "./ask.js";
import { clockWords } from "./words.js";

const POINTS = 2048;
const [BAR, GAP] = [2, 1]; // pixels of CSS
const STEP_S = 5;
const MOST_GAIN = 4; // quiet music is drawn larger, but silence stays silence

/** The loudest sample of each of `count` equal stretches, from 0 to 1, of peaks as audiowaveform writes them. */
export function bars({ data, length, samples_per_pixel: span, sample_rate: rate }, duration, count) {
  const perPoint = span / rate;
  const heights = Array.from({ length: count }, (_, bar) => {
    const from = Math.floor((bar * duration) / count / perPoint);
    const until = Math.max(from + 1, Math.ceil(((bar + 1) * duration) / count / perPoint));
    let height = 0;
    for (let at = 2 * from; at < 2 * Math.min(until, length); at += 1) height = Math.max(height, Math.abs(data[at]));
    return height / 128;
  });
  const gain = Math.min(MOST_GAIN, 1 / Math.max(...heights, 1 / 128));
  return heights.map((height) => height * gain);
}

/** Draw the waveform of what `audio` plays into `slider`, as soon as `part()` says where the peaks are. */
export function waveform(slider, audio, part) {
  const canvas = slider.querySelector("canvas");
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let peaks = null;
  let duration = 0;
  let heights = [];
  let frame = 0;

  const draw = () => {
    const { width, height } = canvas;
    const scale = width / slider.clientWidth || 1;
    const style = getComputedStyle(slider);
    const context = canvas.getContext("2d");
    const played = (audio.currentTime / duration) * width;
    const paint = (colour, from, until) => {
      context.save();
      context.beginPath();
      context.rect(from, 0, until - from, height);
      context.clip();
      context.fillStyle = colour;
      heights.forEach((value, bar) => {
        const tall = Math.max(scale, value * height);
        context.fillRect(bar * (BAR + GAP) * scale, (height - tall) / 2, BAR * scale, tall);
      });
      context.restore();
    };
    context.clearRect(0, 0, width, height);
    paint(style.getPropertyValue("--field"), played, width);
    paint(style.getPropertyValue("--accent"), 0, played);
    context.fillStyle = style.getPropertyValue("--ink");
    context.fillRect(Math.min(Math.max(0, played - scale / 2), width - scale), 0, scale, height);
  };
  const tell = () => {
    slider.setAttribute("aria-valuenow", String(Math.round(audio.currentTime)));
    slider.setAttribute("aria-valuetext", `${clockWords(audio.currentTime)} of ${clockWords(duration)}`);
  };
  const show = () => {
    if (!peaks) return;
    draw();
    tell();
  };
  const run = () => {
    cancelAnimationFrame(frame);
    if (!peaks || audio.paused || audio.ended || still.matches) return;
    draw();
    frame = requestAnimationFrame(run);
  };
  const fit = () => {
    if (!peaks) return;
    canvas.width = Math.round(slider.clientWidth * devicePixelRatio);
    canvas.height = Math.round(slider.clientHeight * devicePixelRatio);
    heights = bars(peaks, duration, Math.max(1, Math.floor((slider.clientWidth + GAP) / (BAR + GAP))));
    draw();
  };
  const go = (seconds) => {
    audio.currentTime = Math.min(Math.max(0, seconds), duration);
    show();
  };
  const load = async () => {
    const { peaks: url, duration: seconds } = part().dataset;
    if (!url || peaks) return;
    try {
      ({ data: peaks } = await ask("GET", `${url}?points=${POINTS}`));
    } catch {
      return; // the track plays without it
    }
    duration = Number(seconds);
    slider.hidden = false;
    fit();
    tell();
    run();
  };

  const follow = (event) => {
    const box = slider.getBoundingClientRect();
    go(((event.clientX - box.left) / box.width) * duration);
  };
  slider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || event.pointerType === "touch") return; // a finger may be about to scroll: see "click"
    slider.setPointerCapture(event.pointerId);
    follow(event);
  });
  slider.addEventListener("click", (event) => {
    if (event.detail) follow(event); // else it is no pointer's, and has no place
  });
  slider.addEventListener("pointermove", (event) => {
    if (slider.hasPointerCapture(event.pointerId)) follow(event);
  });
  slider.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const steps = {
      ArrowLeft: -STEP_S,
      ArrowDown: -STEP_S,
      ArrowRight: STEP_S,
      ArrowUp: STEP_S,
      PageDown: -duration / 10,
      PageUp: duration / 10,
      Home: -Infinity,
      End: Infinity,
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    go(audio.currentTime + steps[event.key]);
  });
  for (const name of ["timeupdate", "seeked", "loadedmetadata", "ended"]) audio.addEventListener(name, show);
  audio.addEventListener("play", run);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  new ResizeObserver(fit).observe(slider);
  document.addEventListener("renewed", load);
  load();
}

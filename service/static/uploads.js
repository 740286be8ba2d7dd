// The drop zone: a few uploads at once, each with its progress, and its problem in words when it is refused.

import { ask } from "./ask.js";
import { sizeWords } from "./words.js";

const AT_ONCE = 3;

class Upload {
  constructor(file, queue) {
    this.file = file;
    this.queue = queue;
    this.state = "waiting";
    this.stop = null;
    this.build();
  }

  build() {
    this.row = document.createElement("li");
    this.row.className = "upload";
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = this.file.name;
    this.words = document.createElement("span");
    this.words.className = "words";
    this.bar = document.createElement("progress");
    this.bar.max = this.file.size || 1;
    this.bar.value = 0;
    this.bar.setAttribute("aria-label", `Progress of ${this.file.name}`);
    this.again = this.button("Try again", () => this.queue.retry(this));
    this.again.hidden = true;
    this.leave = this.button("Cancel", () => this.cancel());
    this.row.append(name, this.words, this.bar, this.again, this.leave);
    this.say("waiting", `${sizeWords(this.file.size)}, waiting`);
  }

  button(text, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "quiet";
    button.textContent = text;
    button.setAttribute("aria-label", `${text}: ${this.file.name}`);
    button.addEventListener("click", action);
    return button;
  }

  say(state, words) {
    this.state = state;
    this.row.dataset.state = state;
    this.words.textContent = words;
  }

  progress(sent) {
    const { size } = this.file;
    this.bar.value = sent;
    this.say("running", sent < size ? `${sizeWords(sent)} of ${sizeWords(size)}` : "Checking and storing");
  }

  /** Resolves to the id of the track, or to null when there is none. */
  async run() {
    this.stop = new AbortController();
    this.again.hidden = true;
    this.bar.hidden = false;
    this.progress(0);
    try {
      const url = `/spool/${encodeURIComponent(this.file.name)}`;
      const { data } = await ask("PUT", url, {
        body: this.file,
        type: "audio/mpeg",
        signal: this.stop.signal,
        onProgress: (sent) => this.progress(sent),
      });
      this.say("done", "Uploaded");
      return data.id;
    } catch (error) {
      if (error.name !== "AbortError") this.refuse(error);
      return null;
    }
  }

  refuse(error) {
    this.bar.hidden = true;
    // A file that is no mp3, or is too large, will be so again.
    this.again.hidden = [413, 415, 422].includes(error.status);
    this.leave.textContent = "Dismiss";
    this.leave.setAttribute("aria-label", `Dismiss: ${this.file.name}`);
    this.say("refused", error.message);
  }

  cancel() {
    this.stop?.abort();
    this.queue.drop(this);
  }
}

class Queue {
  constructor(section, maxBytes, onTrack) {
    this.section = section;
    this.list = section.querySelector("ul");
    this.summary = section.querySelector("[role=status]");
    this.maxBytes = maxBytes;
    this.onTrack = onTrack;
    this.uploads = [];
    this.stored = 0;
  }

  get busy() {
    return this.uploads.some((each) => each.state === "running" || each.state === "waiting");
  }

  add(files) {
    if (!this.busy) this.stored = 0;
    for (const file of files) {
      const upload = new Upload(file, this);
      this.uploads.push(upload);
      this.list.append(upload.row);
      if (file.size > this.maxBytes) {
        upload.refuse({ status: 413, message: `Too large. The limit is ${sizeWords(this.maxBytes)}.` });
      }
    }
    this.next();
  }

  next() {
    const running = this.uploads.filter((each) => each.state === "running");
    for (const upload of this.uploads.filter((each) => each.state === "waiting")) {
      if (running.length >= AT_ONCE) break;
      running.push(upload);
      this.run(upload);
    }
    this.sum();
  }

  async run(upload) {
    const trackId = await upload.run();
    if (trackId) {
      this.stored += 1;
      await this.onTrack(trackId);
      this.drop(upload);
    }
    this.next();
  }

  retry(upload) {
    upload.leave.textContent = "Cancel";
    upload.leave.setAttribute("aria-label", `Cancel: ${upload.file.name}`);
    upload.say("waiting", "Waiting");
    this.next();
  }

  drop(upload) {
    const hadFocus = upload.row.contains(document.activeElement);
    this.uploads = this.uploads.filter((each) => each !== upload);
    upload.row.remove();
    if (hadFocus) document.querySelector("#files").focus();
    this.next();
  }

  sum() {
    const count = (state) => this.uploads.filter((each) => each.state === state).length;
    const left = count("running") + count("waiting");
    const refused = count("refused");
    const parts = [];
    if (left) parts.push(`${left} to go`);
    if (this.stored) parts.push(`${this.stored} uploaded`);
    if (refused) parts.push(`${refused} not uploaded`);
    this.summary.textContent = parts.join(", ");
    this.section.hidden = !parts.length;
  }
}

/** The files of a drop, those inside folders too. */
async function droppedFiles(transfer) {
  // The list of items is emptied as soon as the event is over, so entries are taken before the first await.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  try {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const reader = entry.createReader();
    const found = [];
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return found;
      const files = (await Promise.all(some.map(filesOf))).flat();
      found.push(...files.filter((file) => file.name.toLowerCase().endsWith(".mp3")));
    }
  } catch {
    return []; // a file that went away, or that the browser may not read
  }
}

/** Make the form a drop zone; `onTrack(id)` is called, and awaited, for every new track. */
export function dropZone(form, section, onTrack) {
  const input = form.querySelector("input[type=file]");
  const queue = new Queue(section, Number(form.dataset.maxBytes), onTrack);
  let depth = 0;
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const mark = () => form.classList.toggle("over", depth > 0);

  input.required = false;
  const take = () => {
    queue.add([...input.files]);
    input.value = "";
  };
  input.addEventListener("change", take);
  if (input.files.length) take(); // chosen before this script was there
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("dragenter", (event) => {
    if (carriesFiles(event)) depth += 1;
    mark();
  });
  document.addEventListener("dragleave", (event) => {
    if (carriesFiles(event)) depth = Math.max(0, depth - 1);
    mark();
  });
  document.addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    depth = 0;
    mark();
    queue.add(await droppedFiles(event.dataTransfer));
  });
  addEventListener("beforeunload", (event) => {
    if (queue.busy) event.preventDefault();
  });
}

// The note view: waveform, log-mel spectrogram and the networks' probabilities of one note on a common time axis, and
// the widgets around it. One module for both places: `render` for anywidget (JupyterLab, VS Code, Colab), `mount` for
// a plain page with the data embedded. The same `data` serves both; see view/__init__.py for its fields.

// ---------------------------------------------------------------------------------------------- small helpers

/** An element with properties, attributes (role, aria-*, data-*) and children. */
function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const FONT = "11px system-ui, sans-serif";
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const percent = (share) => `${(100 * share).toFixed(share >= 0.0005 && share < 0.0995 ? 1 : 0)} %`;
const milliseconds = (seconds) => `${Math.round(1000 * seconds)} ms`;
const argmax = (values) => values.reduce((best, value, i) => (value > values[best] ? i : best), 0);

/** The bytes of base64 text as a typed array. */
function column(text, Type) {
  return new Type(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const exponentials = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = exponentials.reduce((a, b) => a + b);
  return exponentials.map((value) => value / sum);
}

/** Give a canvas its height, and return a context whose unit is a CSS pixel; none while the canvas is not shown. */
function prepare(canvas, height) {
  canvas.style.height = `${height}px`;
  const width = canvas.clientWidth, scale = globalThis.devicePixelRatio || 1;
  if (!width) return { width };
  Object.assign(canvas, { width: Math.round(width * scale), height: Math.round(height * scale) });
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.font = FONT;
  context.textBaseline = "middle";
  return { context, width };
}

const PITCH_CLASSES = ["C", "C♯", "D", "E♭", "E", "F", "F♯", "G", "A♭", "A", "B♭", "B"];
const pitchName = (midi) => `${PITCH_CLASSES[midi % 12]}${Math.floor(midi / 12) - 1}`;

// ------------------------------------------------------------------------------------------ log-mel spectrogram

const WINDOW = 1024, BANDS = 64, RANGE_DB = 80, SMALLEST_REFERENCE = 1e-6;

/** In-place radix-2 FFT. */
function fft(real, imaginary) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let length = 2; length <= size; length <<= 1) {
    const half = length >> 1, angle = (-2 * Math.PI) / length;
    for (let k = 0; k < half; k++) {
      const cos = Math.cos(angle * k), sin = Math.sin(angle * k);
      for (let i = k; i < size; i += length) {
        const j = i + half;
        const re = real[j] * cos - imaginary[j] * sin, im = real[j] * sin + imaginary[j] * cos;
        real[j] = real[i] - re;
        imaginary[j] = imaginary[i] - im;
        real[i] += re;
        imaginary[i] += im;
      }
    }
  }
}

// Slaney's mel scale, librosa's default: linear up to 1 kHz, logarithmic above.
const LOG_STEP = Math.log(6.4) / 27;
const toMel = (hertz) => (hertz < 1000 ? (3 * hertz) / 200 : 15 + Math.log(hertz / 1000) / LOG_STEP);
const toHertz = (mel) => (mel < 15 ? (200 * mel) / 3 : 1000 * Math.exp(LOG_STEP * (mel - 15)));

/** Triangular filters of unit area: for each band its first bin and the weights from there. */
function melFilters(rate) {
  const edges = Array.from({ length: BANDS + 2 }, (_, i) => toHertz((toMel(rate / 2) * i) / (BANDS + 1)));
  return Array.from({ length: BANDS }, (_, band) => {
    const [low, centre, high] = edges.slice(band, band + 3);
    const first = Math.ceil((low * WINDOW) / rate), weights = [];
    for (let bin = first; (bin * rate) / WINDOW < high; bin++) {
      const hertz = (bin * rate) / WINDOW;
      weights.push((2 / (high - low)) * Math.min((hertz - low) / (centre - low), (high - hertz) / (high - centre)));
    }
    return { first, weights };
  });
}

/** Level in decibel below the note's strongest value, band after band, one column a step: `plots.log_mel_spectrogram`. */
export function logMel(samples, rate, hop) {
  const columns = 1 + Math.floor(samples.length / hop);
  const filters = melFilters(rate), power = new Float64Array(BANDS * columns);
  const hann = Float64Array.from({ length: WINDOW }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW));
  const last = samples.length - 1;
  for (let t = 0; t < columns; t++) {
    const real = new Float64Array(WINDOW), imaginary = new Float64Array(WINDOW);
    for (let i = 0; i < WINDOW; i++) {
      let place = Math.abs(t * hop - WINDOW / 2 + i); // reflected at both ends
      if (place > last) place = Math.abs(2 * last - place);
      real[i] = hann[i] * (samples[place] ?? 0);
    }
    fft(real, imaginary);
    filters.forEach(({ first, weights }, band) => {
      weights.forEach((weight, i) => {
        power[band * columns + t] += weight * (real[first + i] ** 2 + imaginary[first + i] ** 2);
      });
    });
  }
  const reference = Math.max(power.reduce((a, b) => Math.max(a, b), 0), SMALLEST_REFERENCE);
  return { columns, level: Float32Array.from(power, (p) => Math.max(10 * Math.log10(Math.max(p, 1e-10) / reference), -RANGE_DB)) };
}

// Sixteen evenly spaced colours of matplotlib's magma, between which the eye sees no step.
const MAGMA = ["000004", "0b0924", "20114b", "3b0f70", "57157e", "721f81", "8c2981", "a8327d", "c43c75", "de4968", "f1605d",
  "fa7f5e", "fe9f6d", "febf84", "fddea0", "fcfdbf"].map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));

function magma(share) {
  const place = clamp(share, 0, 1) * (MAGMA.length - 1), below = Math.min(Math.floor(place), MAGMA.length - 2);
  return MAGMA[below].map((value, i) => value + (MAGMA[below + 1][i] - value) * (place - below));
}

/** The spectrogram as a picture of one pixel a value, low frequencies at the bottom. */
function spectrogramPicture({ columns, level }) {
  const picture = h("canvas", { width: columns, height: BANDS });
  const context = picture.getContext("2d"), image = context.createImageData(columns, BANDS);
  level.forEach((decibel, i) => {
    const band = Math.floor(i / columns), place = 4 * ((BANDS - 1 - band) * columns + (i % columns));
    image.data.set([...magma(1 + decibel / RANGE_DB), 255], place);
  });
  context.putImageData(image, 0, 0);
  return picture;
}

// ----------------------------------------------------------------------------------------------------- the notes

const ANSWER_SECONDS = 15; // how long a note waits for a kernel that says nothing
const SILENT_KERNEL = "The kernel does not answer: run the cell again, or wait until it is idle.";

/** The table of notes, and what the page or the kernel knows of each. */
class Notes {
  constructor(data, model, tools) {
    Object.assign(this, { families: data.families, rate: data.rate, hop: data.step, samples: data.samples, model });
    const { notes } = data;
    this.instruments = notes.instruments;
    this.splits = notes.splits;
    this.instrument = column(notes.instrument, Uint16Array);
    this.pitch = column(notes.pitch, Uint8Array);
    this.velocity = column(notes.velocity, Uint8Array);
    this.split = column(notes.split, Uint8Array);
    this.stored = data.stored;
    this.sound = data.sound; // the first row, where it is no note of a split
    this.networks = data.networks.map((network) => ({ ...network, logits: network.logits && column(network.logits, Float32Array) }));
    this.loaded = new Map();
    this.waiting = new Map();
    tools.listen("msg:custom", (message, buffers) => this.receive(message, buffers));
  }

  get length() {
    return this.instrument.length;
  }

  /** Whether the note's sound can be had: from the page, or from a kernel. */
  has(i) {
    return Boolean(this.model) || i in this.stored;
  }

  facts(i) {
    if (this.sound && i === 0) {
      const { name, seconds, onset, padding } = this.sound;
      return { name, told: `${seconds.toFixed(2)} s, heard from ${milliseconds(onset)} on${padding ? `; the last ${milliseconds(padding)} are added silence` : ""}` };
    }
    const instrument = this.instruments[this.instrument[i]], pitch = this.pitch[i], velocity = this.velocity[i];
    const [, family, source] = instrument.match(/^(.+)_([a-z]+)_\d+$/);
    const name = `${instrument}-${String(pitch).padStart(3, "0")}-${String(velocity).padStart(3, "0")}`;
    return { name, family, source, instrument, pitch, velocity, split: this.splits[this.split[i]] };
  }

  /** What a network answers: probabilities, the predicted family and the margin; null where it was not asked. */
  answer(network, i) {
    if (!network.logits) return null;
    const count = this.families.length, logits = network.logits.subarray(i * count, (i + 1) * count);
    const predicted = argmax(logits), actual = this.families.indexOf(this.facts(i).family);
    return { probabilities: softmax(logits), predicted, margin: logits[predicted] - logits[actual], correct: predicted === actual };
  }

  /** A promise of the note's `{url, samples, mel, picture, beliefs}`. */
  load(i) {
    if (!this.loaded.has(i)) {
      const found = this.fetch(i).then((note) => this.decode(note));
      found.catch(() => this.loaded.delete(i));
      this.loaded.set(i, found);
      if (this.loaded.size > 200) this.forget(this.loaded.keys().next().value);
    }
    return this.loaded.get(i);
  }

  async forget(i) {
    const note = this.loaded.get(i);
    this.loaded.delete(i);
    URL.revokeObjectURL((await note.catch(() => ({}))).url);
  }

  fetch(i) {
    const stored = this.stored[i];
    if (stored) {
      const beliefs = (stored.beliefs ?? []).map((belief) => belief && column(belief, Uint16Array));
      return Promise.resolve({ sound: column(stored.sound, Uint8Array), beliefs });
    }
    if (!this.model) return Promise.reject(new Error("This page holds no sound of this note; the notebook plays every note."));
    return new Promise((resolve, reject) => {
      const silence = () => reject(new Error(SILENT_KERNEL));
      this.waiting.set(i, { resolve, reject, timer: setTimeout(silence, 1000 * ANSWER_SECONDS) });
      this.model.send({ note: i });
    });
  }

  receive({ note, error, networks }, buffers) {
    const waiting = this.waiting.get(note);
    if (!waiting) return;
    this.waiting.delete(note);
    clearTimeout(waiting.timer);
    if (error) return waiting.reject(new Error(error));
    const [sound, ...found] = buffers.map((view) => new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength)));
    const beliefs = networks.map((known) => (known ? new Uint16Array(found.shift().buffer) : null));
    waiting.resolve({ sound, beliefs });
  }

  async decode({ sound, beliefs }) {
    const url = URL.createObjectURL(new Blob([sound], { type: "audio/mpeg" }));
    const decoder = new OfflineAudioContext(1, 1, this.rate);
    const heard = (await decoder.decodeAudioData(sound.slice().buffer)).getChannelData(0);
    // A decoder that does not know how many samples the encoder put in front leaves all 1105 of them there.
    const start = heard.length - this.samples >= 1105 ? 1105 : 0;
    const samples = heard.slice(start, start + this.samples);
    const mel = logMel(samples, this.rate, this.hop);
    return { url, samples, mel, picture: spectrogramPicture(mel), beliefs };
  }
}

// ---------------------------------------------------------------------------------------- one note on a canvas

const EDGE = 66, GAP = 22, AXIS = 20, WAVE = 84, SPECTRUM = 104, ROW = 13, MOST_ZOOM = 32;

/** Picture, player, cursor and answers of one note. */
class NotePanel {
  constructor(notes, tools, { ask = false } = {}) {
    Object.assign(this, { notes, tools, ask, note: null, index: null, time: 0, from: 0, zoom: 1, hidden: false });
    this.title = h("h3");
    this.facts = h("p", { className: "facts" });
    this.playButton = h("button", { type: "button", className: "play", onclick: () => this.toggle() });
    this.zooms = [["+", "zoom in", 2], ["−", "zoom out", 0.5], ["whole note", "show the whole note", 0]].map(([text, label, factor]) =>
      h("button", { type: "button", "aria-label": label, title: label, onclick: () => this.zoomBy(factor) }, text));
    this.canvas = h("canvas", { tabIndex: 0, role: "slider", "aria-valuemin": 1, "aria-valuemax": this.steps });
    this.guesses = h("div", { className: "guesses", role: "group", "aria-label": "Which family is it?" });
    this.message = h("p", { className: "message", role: "status" });
    this.answers = h("div", { className: "answers" });
    this.table = h("div", { className: "unseen" });
    this.element = h("section", { className: "note" }, this.title, this.facts, this.guesses,
      h("div", { className: "bar" }, this.playButton, ...this.zooms), this.canvas, this.message, this.answers, this.table);
    this.audio = new Audio();
    // On a busy machine the last frame comes too late to bring the cursor here.
    this.audio.onended = () => { this.moveTo(this.steps - 1); this.stop(); };
    this.listen();
    this.showPlaying();
    tools.panels.add(this);
  }

  get seconds() {
    return this.notes.samples / this.notes.rate;
  }

  get steps() {
    return Math.floor(this.notes.samples / this.notes.hop);
  }

  get step() {
    return clamp(Math.floor((this.time * this.notes.rate) / this.notes.hop + 1e-6), 0, this.steps - 1);
  }

  /** The seconds that the canvas shows now. */
  get shown() {
    return this.seconds / this.zoom;
  }

  listen() {
    const canvas = this.canvas;
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -Infinity, End: Infinity };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key in moves) this.moveTo(clamp(this.step + moves[event.key], 0, this.steps - 1));
      else if (event.key === " ") this.toggle();
      else if (event.key === "+" || event.key === "=") this.zoomBy(2);
      else if (event.key === "-") this.zoomBy(0.5);
      else if (event.key === "0") this.zoomBy(0);
      else return;
      event.preventDefault();
    });
    const scrub = (event) => {
      const { left, width } = canvas.getBoundingClientRect();
      const share = clamp((event.clientX - left - EDGE) / (width - EDGE), 0, 1);
      this.moveTo(Math.floor(((this.from + share * this.shown) * this.notes.rate) / this.notes.hop));
    };
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      canvas.setPointerCapture(event.pointerId);
      scrub(event);
    });
    canvas.addEventListener("pointermove", (event) => canvas.hasPointerCapture(event.pointerId) && scrub(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Show a note (or, with null, only a sentence): its picture follows when it has arrived. */
  async show(index, sentence = "") {
    this.stop();
    Object.assign(this, { index, note: null, time: 0, from: 0, zoom: 1, hidden: this.ask && index !== null, guess: null });
    this.element.classList.toggle("empty", index === null);
    this.message.textContent = sentence;
    this.describe();
    if (index === null) return this.draw();
    const late = setTimeout(() => (this.message.textContent = "Waiting for the kernel …"), 400);
    try {
      const note = await this.notes.load(index);
      if (this.index !== index) return;
      this.note = note;
      this.audio.src = note.url;
      this.message.textContent = sentence;
    } catch (error) {
      if (this.index === index) this.message.textContent = error.message;
    } finally {
      clearTimeout(late);
    }
    // The answer is the last step's: there the cursor waits.
    this.time = this.note?.beliefs.some(Boolean) ? this.seconds - 0.5 * this.notes.hop / this.notes.rate : 0;
    this.describe();
    this.draw();
  }

  /** Show a note of a list; its neighbours are at hand before they are asked for. */
  showOf(list, place) {
    this.show(list[place]);
    for (const i of [list[place + 1], list[place - 1]]) if (i !== undefined && this.notes.has(i)) this.notes.load(i).catch(() => {});
  }

  reveal(guess = null) {
    Object.assign(this, { hidden: false, guess });
    this.describe();
    this.draw();
    this.canvas.focus({ preventScroll: true });
  }

  // ---- words

  describe() {
    const i = this.index, known = i === null ? null : this.notes.facts(i);
    this.title.textContent = !known ? "" : this.hidden ? "Which family is it?" : known.name;
    this.facts.replaceChildren();
    if (known?.told) this.facts.append(known.told);
    else if (known) {
      const pitch = `pitch ${known.pitch} (${pitchName(known.pitch)})`;
      const rest = `${pitch}, velocity ${known.velocity}, ${known.split} split`;
      this.facts.append(this.hidden ? rest : h("strong", {}, known.family), this.hidden ? "" : `, ${known.source}, ${rest}`);
      if (this.guess && !this.hidden) {
        this.facts.append(h("br"), this.guess === known.family ? `You heard it: ${known.family}.` : `You said ${this.guess}; it is ${known.family}.`);
      }
    }
    this.describeGuesses();
    this.describeAnswers();
    this.describeTable(known);
    this.playButton.disabled = !this.note;
    this.canvas.setAttribute("aria-label", !known ? "No note" : "Time in the waveform, the log-mel spectrogram"
      + `${this.note?.beliefs.some(Boolean) ? " and the probabilities" : ""} of ${this.hidden ? "a hidden note" : known.told ? known.name : `${known.name}: ${known.family}, ${known.source}`}`
      + (known.told ? "" : `, pitch ${known.pitch}, velocity ${known.velocity}`));
  }

  describeGuesses() {
    this.guesses.hidden = !this.hidden;
    if (!this.hidden) return this.guesses.replaceChildren();
    const families = this.notes.families.map((family) => h("button", { type: "button", onclick: () => this.reveal(family) }, family));
    this.guesses.replaceChildren(...families, h("button", { type: "button", className: "reveal", onclick: () => this.reveal() }, "reveal"));
  }

  /** The probabilities at the cursor, or, without beliefs, of the whole note. */
  probabilities(number) {
    const belief = this.note?.beliefs[number];
    if (belief) return Array.from(this.atCursor(belief), (value) => value / 65535);
    return this.index === null ? null : this.notes.answer(this.notes.networks[number], this.index)?.probabilities ?? null;
  }

  describeAnswers() {
    const parts = this.notes.networks.map((network, number) => ({ ...network, shares: this.probabilities(number) }));
    const known = parts.filter(({ shares }) => shares && !this.hidden);
    if (this.index === null || !known.length) return this.answers.replaceChildren();
    const follows = this.note?.beliefs.some(Boolean), actual = this.notes.facts(this.index).family;
    const when = follows ? `after step ${this.step + 1} of ${this.steps} (${(this.step + 1) * 1000 * this.notes.hop / this.notes.rate} ms)` : "after the whole note";
    const head = h("tr", {}, h("th", { scope: "col" }, "family"), ...known.map(({ name }) => h("th", { scope: "col" }, name)));
    const rows = this.notes.families.map((family, label) => h("tr", { className: family === actual ? "actual" : "" },
      h("th", { scope: "row" }, family, family === actual ? h("span", {}, " (true)") : ""),
      ...known.map(({ shares }) => h("td", { className: argmax(shares) === label ? "most" : "" },
        h("span", { className: "share", style: `--p:${shares[label]}` }), ` ${percent(shares[label])}`))));
    const margins = parts.map((network) => ({ name: network.name, answer: this.notes.answer(network, this.index) })).filter(({ answer }) => answer)
      .map(({ name, answer }) => `${name}: ${this.notes.families[answer.predicted]}, ${answer.correct ? "right" : `wrong by a margin of ${answer.margin.toFixed(2)}`}`);
    const remarks = known.filter(({ bidirectional }) => bidirectional).map(({ name }) => `The ${name}'s backward half has heard the rest of the note already.`);
    this.answers.replaceChildren(h("p", {}, h("strong", {}, `Probability of each family ${when}`), ...margins.flatMap((margin) => [h("br"), margin])),
      h("table", {}, head, ...rows), ...remarks.map((remark) => h("p", { className: "remark" }, remark)));
  }

  /** The picture in words, for who cannot see it: level and most probable family every tenth of the note. */
  describeTable(known) {
    if (!known || !this.note) return this.table.replaceChildren();
    const follows = this.notes.networks.map((network, number) => ({ ...network, belief: this.note.beliefs[number] })).filter(({ belief }) => belief && !this.hidden);
    const count = this.notes.families.length;
    const rows = Array.from({ length: 10 }, (_, tenth) => {
      const end = Math.round(((tenth + 1) * this.steps) / 10), start = Math.round((tenth * this.steps) / 10);
      const part = this.note.samples.subarray(start * this.notes.hop, end * this.notes.hop);
      const level = 10 * Math.log10(part.reduce((sum, value) => sum + value * value, 1e-12) / part.length);
      const most = follows.map(({ belief }) => {
        const shares = belief.subarray((end - 1) * count, end * count), label = argmax(shares);
        return h("td", {}, `${this.notes.families[label]}, ${percent(shares[label] / 65535)}`);
      });
      return h("tr", {}, h("th", { scope: "row" }, milliseconds((end * this.notes.hop) / this.notes.rate)), h("td", {}, `${level.toFixed(0)} dB`), ...most);
    });
    const head = h("tr", {}, ...["time", "level before it, of full scale", ...follows.map(({ name }) => `${name} answers`)].map((text) => h("th", { scope: "col" }, text)));
    this.table.replaceChildren(h("table", {}, h("caption", {}, "The picture in words"), head, ...rows));
  }

  // ---- time

  moveTo(step) {
    this.time = ((clamp(step, 0, this.steps - 1) + 0.5) * this.notes.hop) / this.notes.rate;
    if (!this.audio.paused) this.audio.currentTime = this.time;
    this.follow();
  }

  /** Keep the cursor in the window, say where it is, draw. */
  follow() {
    if (this.time < this.from || this.time > this.from + this.shown) {
      this.from = clamp(this.time - this.shown / 10, 0, this.seconds - this.shown);
    }
    this.describeAnswers();
    this.draw();
  }

  zoomBy(factor) {
    const zoom = factor ? clamp(this.zoom * factor, 1, MOST_ZOOM) : 1;
    const place = (this.time - this.from) / this.shown;
    this.zoom = zoom;
    this.from = clamp(this.time - place * this.shown, 0, this.seconds - this.shown);
    this.draw();
  }

  async toggle() {
    if (!this.note) return;
    if (!this.audio.paused) return this.stop();
    // From the cursor on; from the start where nothing is left.
    this.audio.currentTime = this.time > this.seconds - 0.05 ? 0 : this.time;
    this.tools.panels.forEach((panel) => panel !== this && panel.stop()); // one note is heard at a time
    await this.audio.play();
    this.showPlaying();
    const frame = () => {
      if (this.audio.paused) return;
      this.time = Math.min(this.audio.currentTime, this.seconds - 0.5 * this.notes.hop / this.notes.rate);
      this.follow();
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  }

  stop() {
    this.audio.pause();
    this.showPlaying();
  }

  showPlaying() {
    const playing = !this.audio.paused;
    this.playButton.textContent = playing ? "■ stop" : "▶ play";
    this.playButton.setAttribute("aria-pressed", playing);
  }

  // ---- picture

  draw() {
    const beliefs = this.note?.beliefs ?? [], count = this.notes.families.length;
    const follows = this.notes.networks.map(({ name }, number) => ({ name, belief: beliefs[number] })).filter(({ belief }) => belief && !this.hidden);
    const height = GAP + WAVE + GAP + SPECTRUM + follows.length * (GAP + ROW * count) + AXIS;
    const { context, width } = prepare(this.canvas, height), colour = this.tools.theme();
    this.sayTime();
    if (!context || !this.note) return;
    const place = (time) => EDGE + ((time - this.from) / this.shown) * (width - EDGE);
    let top = GAP;
    const title = (text) => {
      context.fillStyle = colour.text;
      context.textAlign = "left";
      context.fillText(text, EDGE, top - GAP / 2);
    };
    title("waveform");
    this.drawWaveform(context, colour, top, width, place);
    top += WAVE + GAP;
    title(width < 480 ? "log-mel spectrogram (80 dB)" : "log-mel spectrogram (dark to bright: 80 dB)");
    this.drawSpectrogram(context, colour, top, width);
    top += SPECTRUM + GAP;
    for (const { name, belief } of follows) {
      title(`${name}: probability of each family`);
      this.drawBelief(context, colour, top, width, place, belief);
      top += ROW * count + GAP;
    }
    this.drawAxis(context, colour, height - AXIS, width, place);
    context.fillStyle = colour.cursor;
    context.fillRect(place(this.time) - 1, GAP, 2, height - AXIS - GAP);
  }

  sayTime() {
    const follows = this.note?.beliefs.some(Boolean) && !this.hidden;
    const most = follows ? this.notes.networks.map(({ name }, number) => ({ name, shares: this.probabilities(number) })).filter(({ shares }) => shares)
      .map(({ name, shares }) => `; ${name}: ${this.notes.families[argmax(shares)]} ${percent(Math.max(...shares))}`).join("") : "";
    this.canvas.setAttribute("aria-valuenow", this.step + 1);
    this.canvas.setAttribute("aria-valuetext", `step ${this.step + 1} of ${this.steps}, ${milliseconds(((this.step + 1) * this.notes.hop) / this.notes.rate)}${most}`);
  }

  drawWaveform(context, colour, top, width, place) {
    const { samples } = this.note, rate = this.notes.rate, middle = top + WAVE / 2;
    const loudest = samples.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-4);
    context.fillStyle = colour.muted;
    context.textAlign = "right";
    for (const [value, y] of [[loudest, top + 6], [0, middle], [-loudest, top + WAVE - 6]]) context.fillText(value.toFixed(value ? 2 : 0).replace("-", "−"), EDGE - 6, y);
    context.fillStyle = context.strokeStyle = colour.line;
    const first = Math.floor(this.from * rate), shown = this.shown * rate, pixels = width - EDGE;
    if (shown < 4 * pixels) {
      context.beginPath();
      for (let i = first; i <= Math.min(first + shown, samples.length - 1); i++) context.lineTo(place(i / rate), middle - (samples[i] / loudest) * (WAVE / 2));
      context.stroke();
      return;
    }
    for (let x = 0; x < pixels; x++) {
      let low = 1, high = -1;
      for (let i = first + Math.floor((x * shown) / pixels), end = first + ((x + 1) * shown) / pixels; i < end && i < samples.length; i++) {
        low = Math.min(low, samples[i]);
        high = Math.max(high, samples[i]);
      }
      if (low <= high) context.fillRect(EDGE + x, middle - (high / loudest) * (WAVE / 2), 1, Math.max(((high - low) / loudest) * (WAVE / 2), 1));
    }
  }

  drawSpectrogram(context, colour, top, width) {
    const { picture } = this.note, { rate, hop } = this.notes;
    context.imageSmoothingEnabled = false;
    // Column t is centred on sample t * hop.
    const start = (this.from * rate) / hop + 0.5, shown = (this.shown * rate) / hop;
    context.drawImage(picture, start, 0, Math.min(shown, picture.width - start), BANDS, EDGE, top, width - EDGE, SPECTRUM);
    context.fillStyle = colour.muted;
    context.textAlign = "right";
    for (const hertz of [200, 1000, 2000, 4000]) {
      context.fillText(hertz < 1000 ? `${hertz} Hz` : `${hertz / 1000} kHz`, EDGE - 6, top + SPECTRUM * (1 - toMel(hertz) / toMel(rate / 2)));
    }
  }

  drawBelief(context, colour, top, width, place, belief) {
    const count = this.notes.families.length, steps = belief.length / count, length = this.notes.hop / this.notes.rate;
    const actual = this.notes.facts(this.index).family, now = argmax(this.atCursor(belief));
    context.textAlign = "right";
    this.notes.families.forEach((family, label) => {
      const y = top + label * ROW;
      context.font = label === now ? `bold ${FONT}` : FONT;
      context.fillStyle = label === now || family === actual ? colour.text : colour.muted;
      context.fillText(family === actual ? `▸ ${family}` : family, EDGE - 6, y + ROW / 2);
    });
    context.font = FONT;
    context.fillStyle = colour.quiet;
    context.fillRect(EDGE, top, width - EDGE, ROW * count);
    context.fillStyle = colour.strong;
    for (let step = Math.floor(this.from / length); step < Math.min(steps, (this.from + this.shown) / length); step++) {
      const left = Math.round(Math.max(place(step * length), EDGE)), right = Math.round(Math.min(place((step + 1) * length), width));
      for (let label = 0; label < count; label++) {
        context.globalAlpha = belief[step * count + label] / 65535;
        context.fillRect(left, top + label * ROW, right - left, ROW - 1);
      }
    }
    context.globalAlpha = 1;
  }

  atCursor(belief) {
    const count = this.notes.families.length, step = Math.min(this.step, belief.length / count - 1);
    return belief.subarray(step * count, (step + 1) * count);
  }

  drawAxis(context, colour, top, width, place) {
    const tick = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5].find((step) => (step / this.shown) * (width - EDGE) >= 56) ?? 1;
    context.fillStyle = colour.muted;
    context.textAlign = "center";
    for (let k = Math.ceil(this.from / tick - 1e-6); k * tick <= this.from + this.shown + 1e-6; k++) {
      const x = place(k * tick), ms = Math.round(1000 * k * tick), text = `${ms}${k * tick + tick > this.from + this.shown ? " ms" : ""}`;
      context.fillRect(x - 0.5, top + 1, 1, 4);
      context.fillText(text, clamp(x, EDGE + 6, width - 23), top + 13);
    }
  }
}

// ---------------------------------------------------------------------------------------------- note explorer

const NO_CHOICE = "";

/** Menus that narrow one another, steps through what is left of the notes, and the panel of the note. */
class Chooser {
  constructor(notes, panel, label) {
    Object.assign(this, { notes, panel, label, choice: {} });
    const family = notes.instruments.map((name) => name.match(/^(.+)_[a-z]+_\d+$/)[1]);
    const source = notes.instruments.map((name) => name.match(/_([a-z]+)_\d+$/)[1]);
    this.columns = {
      split: (i) => notes.splits[notes.split[i]],
      family: (i) => family[notes.instrument[i]],
      source: (i) => source[notes.instrument[i]],
      instrument: (i) => notes.instruments[notes.instrument[i]],
      pitch: (i) => notes.pitch[i],
      velocity: (i) => notes.velocity[i],
    };
    this.all = Array.from({ length: notes.length }, (_, i) => i).filter((i) => notes.has(i));
    this.menus = Object.fromEntries(Object.keys(this.columns).map((name) =>
      [name, h("select", { "aria-label": label ? `${name} of note ${label}` : name, onchange: () => this.choose(name) })]));
    this.count = h("span", { className: "count", role: "status" });
    const button = (text, name, act) => h("button", { type: "button", "aria-label": label ? `${name}, note ${label}` : name, onclick: act }, text);
    this.element = h("section", { className: "chooser" }, ...(label ? [h("h2", {}, `Note ${label}`)] : []),
      h("div", { className: "menus" }, ...Object.entries(this.menus).map(([name, menu]) => h("label", {}, name, menu))),
      h("div", { className: "bar" }, button("◀ previous", "previous note", () => this.step(-1)), button("next ▶", "next note", () => this.step(1)),
        button("random", "random note", () => this.go(Math.floor(Math.random() * this.left.length))),
        button("start again", "start again", () => this.startAgain()), this.count),
      panel.element);
    this.startAgain();
  }

  startAgain() {
    this.choice = {};
    this.offer();
    this.go(0);
  }

  choose(name) {
    const { value } = this.menus[name];
    if (value === NO_CHOICE) delete this.choice[name];
    else this.choice[name] = this.values[name][Number(value)];
    this.offer();
    // The note stays while it agrees with the menus.
    this.go(Math.max(this.left.indexOf(this.panel.index), 0));
  }

  /** Fill every menu with what goes with the choices in all the others. */
  offer() {
    const chosen = Object.entries(this.choice), found = {};
    for (const name in this.columns) found[name] = new Set();
    this.left = this.all.filter((i) => {
      const against = chosen.filter(([name, value]) => this.columns[name](i) !== value);
      if (!against.length) for (const name in found) found[name].add(this.columns[name](i));
      else if (against.length === 1) found[against[0][0]].add(this.columns[against[0][0]](i));
      return !against.length;
    });
    this.values = {};
    for (const [name, menu] of Object.entries(this.menus)) {
      const order = name === "split" ? this.notes.splits.filter((split) => found.split.has(split)) : [...found[name]].sort((a, b) => (a < b ? -1 : 1));
      this.values[name] = order;
      menu.replaceChildren(h("option", { value: NO_CHOICE }, `all (${order.length})`),
        ...order.map((value, i) => h("option", { value: i, selected: this.choice[name] === value }, name === "pitch" ? `${value} (${pitchName(value)})` : value)));
    }
  }

  step(by) {
    this.go((this.place + by + this.left.length) % this.left.length);
  }

  go(place) {
    this.place = place;
    this.count.textContent = `${(place + 1).toLocaleString("en")} of ${this.left.length.toLocaleString("en")} note${this.left.length === 1 ? "" : "s"}`;
    this.panel.showOf(this.left, place);
  }
}

function explorer(data, notes, tools) {
  const pane = (label) => new Chooser(notes, new NotePanel(notes, tools, { ask: ask.checked }), label);
  const ask = h("input", { type: "checkbox", checked: Boolean(data.ask) });
  const pair = h("input", { type: "checkbox" });
  const panes = h("div", { className: "panes" });
  const first = pane("A");
  let second = null;
  first.element.classList.add("alone");
  panes.append(first.element);
  ask.onchange = () => [first, second].filter(Boolean).forEach(({ panel }) => {
    panel.ask = ask.checked;
    panel.show(panel.index);
  });
  pair.onchange = () => {
    first.element.classList.toggle("alone", !pair.checked);
    if (pair.checked) panes.append((second ??= pane("B")).element);
    else {
      second.panel.stop();
      second.element.remove();
    }
  };
  const short = notes.model || first.all.length === notes.length ? "" : `This page holds ${first.all.length} of the ${notes.length.toLocaleString("en")} notes.`;
  return h("div", {}, h("div", { className: "bar" }, h("label", { className: "tick" }, pair, "two notes side by side"),
    h("label", { className: "tick" }, ask, "guess first, then reveal the family")), ...(short ? [h("p", { className: "remark" }, short)] : []), panes);
}

// --------------------------------------------------------------------- a table of cells, each with notes behind it

/** A grid whose filled cells are reached by click and arrows; empty ones are only seen. */
class CellGrid {
  constructor(rows, columns, corner, choose) {
    Object.assign(this, { rows, columns, corner, choose, at: null });
    this.element = h("table", { role: "grid" });
    this.element.addEventListener("keydown", (event) => this.press(event));
  }

  /** Show `cell(row, column)`: null, or `{text, share, label}`; the chosen cell stays if it is still filled. */
  fill(cell) {
    this.cells = this.rows.map((_, r) => this.columns.map((_, c) => cell(r, c)));
    this.places = this.rows.flatMap((_, r) => this.columns.map((_, c) => [r, c])).filter(([r, c]) => this.cells[r][c]);
    this.buttons = new Map();
    const head = h("tr", { role: "row" }, h("th", { scope: "col" }, this.corner), ...this.columns.map((name) => h("th", { scope: "col", role: "columnheader" }, h("span", {}, name))));
    const body = this.rows.map((name, r) => h("tr", { role: "row" }, h("th", { scope: "row", role: "rowheader" }, name), ...this.columns.map((_, c) => this.cellOf(r, c))));
    this.element.replaceChildren(head, ...body);
  }

  cellOf(r, c) {
    const cell = this.cells[r][c];
    if (!cell) return h("td", { role: "gridcell", "aria-disabled": "true", "aria-label": "no notes", className: r === c ? "diagonal" : "" }, "·");
    const element = h("td", { role: "gridcell", tabIndex: -1, className: `filled${r === c && this.rows === this.columns ? " diagonal" : ""}`, "aria-label": cell.label,
      style: `--share:${Math.round(100 * cell.share)}%`, onclick: () => this.select(r, c, true) }, cell.text);
    // From where on text must take the other shade, in the light and in the dark theme.
    element.classList.toggle("deep", cell.share > 0.8);
    element.classList.toggle("bright", cell.share > 0.58);
    this.buttons.set(`${r},${c}`, element);
    return element;
  }

  select(r, c, focus = false) {
    this.at = [r, c];
    for (const [place, element] of this.buttons) {
      const chosen = place === `${r},${c}`;
      element.setAttribute("aria-selected", chosen);
      element.tabIndex = chosen ? 0 : -1;
      if (chosen && focus) element.focus({ preventScroll: true });
    }
    this.choose(r, c);
  }

  press(event) {
    if (!this.at || event.ctrlKey || event.metaKey || event.altKey) return;
    const [r, c] = this.at, place = this.places.findIndex(([row, column]) => row === r && column === c);
    const across = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: this.places.length - 1 }[event.key];
    const down = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    let target;
    if (across !== undefined) target = this.places[across];
    else if (down) target = this.nextRow(r, c, down);
    else return;
    event.preventDefault();
    if (target) this.select(...target, true);
  }

  /** The filled cell of the next row that has any, in this column or the nearest one. */
  nextRow(r, c, by) {
    for (let row = r + by; row >= 0 && row < this.rows.length; row += by) {
      const filled = this.places.filter(([other]) => other === row);
      if (filled.length) return filled.reduce((best, place) => (Math.abs(place[1] - c) < Math.abs(best[1] - c) ? place : best));
    }
    return undefined;
  }
}

/** Steps through a list of notes: previous, next and a menu; `tell(i)` is a note's line in the menu. */
class Steps {
  constructor(panel, tell, label = "note of the cell") {
    Object.assign(this, { panel, tell, list: [], place: 0 });
    this.menu = h("select", { "aria-label": label, onchange: () => this.go(Number(this.menu.value)) });
    const button = (text, name, by) => h("button", { type: "button", "aria-label": name, onclick: () => this.go((this.place + by + this.list.length) % this.list.length) }, text);
    this.element = h("div", { className: "bar" }, button("◀ previous", "previous note", -1), button("next ▶", "next note", 1), this.menu);
  }

  show(list) {
    this.list = list;
    this.menu.replaceChildren(...list.map((i, place) => h("option", { value: place }, `${place + 1} of ${list.length}: ${this.tell(i)}`)));
    this.go(0);
  }

  go(place) {
    this.place = place;
    this.menu.value = String(place);
    this.panel.showOf(this.list, place);
  }
}

function confusion(data, notes, tools) {
  const { families, networks } = notes;
  const actual = Array.from({ length: notes.length }, (_, i) => families.indexOf(notes.facts(i).family));
  const answers = networks.map((network) => actual.map((_, i) => notes.answer(network, i)));
  let chosen = 0;
  const panel = new NotePanel(notes, tools);
  const steps = new Steps(panel, (i) => {
    const { margin, probabilities, predicted, correct } = answers[chosen][i];
    return `${notes.facts(i).name}, ${correct ? percent(probabilities[predicted]) : `margin ${margin.toFixed(2)}`}`;
  });
  // Behind each cell its notes, farthest from a right answer first; right ones surest first.
  const cells = answers.map((given) => {
    const table = families.map(() => families.map(() => []));
    given.forEach((answer, i) => table[actual[i]][answer.predicted].push(i));
    const surest = (i) => given[i].probabilities[given[i].predicted];
    table.flat().forEach((cell) => cell.sort((a, b) => given[b].margin - given[a].margin || surest(b) - surest(a)));
    return table;
  });
  const grid = new CellGrid(families, families, "true ↓ answer →", (r, c) => {
    told.textContent = r === c ? `${families[r]} notes that the ${networks[chosen].name} gets right, surest first`
      : `${families[r]} notes that the ${networks[chosen].name} takes for ${families[c]}, largest margin first`;
    steps.show(cells[chosen][r][c]);
  });
  const told = h("p", { className: "told", role: "status" });
  const network = h("select", { "aria-label": "network" }, ...networks.map(({ name }, number) => h("option", { value: number }, name)));
  const unit = h("select", { "aria-label": "cells show" }, h("option", { value: "counts" }, "counts"), h("option", { value: "shares" }, "shares of the true family"));
  const fill = () => grid.fill((r, c) => {
    const count = cells[chosen][r][c].length, share = count / cells[chosen][r].reduce((sum, cell) => sum + cell.length, 0);
    const label = `${families[r]} taken for ${families[c]}: ${count} note${count === 1 ? "" : "s"}, ${percent(share)}`;
    return count ? { text: unit.value === "counts" ? count : Math.round(100 * share) || "<1", share, label } : null;
  });
  /** The cell of before where it is filled; else the most frequent confusion, or the largest cell of all. */
  const open = () => {
    fill();
    if (grid.at && cells[chosen][grid.at[0]][grid.at[1]].length) return grid.select(...grid.at);
    const wrong = grid.places.filter(([r, c]) => r !== c), among = wrong.length ? wrong : grid.places;
    grid.select(...among.reduce((best, place) => (cells[chosen][place[0]][place[1]].length > cells[chosen][best[0]][best[1]].length ? place : best)));
  };
  network.onchange = () => {
    chosen = Number(network.value);
    open();
  };
  unit.onchange = () => {
    fill();
    const [r, c] = grid.at;
    grid.buttons.get(`${r},${c}`).setAttribute("aria-selected", true);
    grid.buttons.get(`${r},${c}`).tabIndex = 0;
  };
  open();
  return h("div", { className: "beside" },
    h("section", { className: "matrix" }, h("div", { className: "bar" }, h("label", { className: "tick" }, "network", network), h("label", { className: "tick" }, "cells show", unit)),
      h("div", { className: "scroll" }, grid.element)),
    h("section", {}, told, steps.element, panel.element));
}

/** One note a cell, such as the surest and the least sure of each family. */
function gallery(data, notes, tools) {
  const { families } = notes, [network] = notes.networks;
  const panel = new NotePanel(notes, tools);
  const told = h("p", { className: "told", role: "status" });
  const cells = families.map(() => data.columns.map(() => null));
  data.cells.forEach((column, i) => (cells[families.indexOf(notes.facts(i).family)][column] = i));
  const grid = new CellGrid(families, data.columns, network.name, (r, c) => {
    told.textContent = `${families[r]}: ${data.columns[c]}`;
    panel.show(cells[r][c]);
  });
  grid.fill((r, c) => {
    if (cells[r][c] === null) return null;
    const { probabilities, predicted, margin, correct } = notes.answer(network, cells[r][c]);
    const text = correct ? percent(probabilities[predicted]) : `${families[predicted]} +${margin.toFixed(1)}`;
    const share = correct ? probabilities[predicted] : 0;
    return { text, share, label: `${families[r]}, ${data.columns[c]}: ${correct ? text : `taken for ${families[predicted]}, margin ${margin.toFixed(2)}`}` };
  });
  grid.select(...grid.places[0]);
  return h("div", { className: "beside" }, h("section", { className: "matrix gallery" }, h("div", { className: "scroll" }, grid.element)),
    h("section", {}, told, panel.element));
}

// ------------------------------------------------------------------------------------------- a sound of your own

const PIECE = 1 << 20; // bytes in a message; Jupyter's server takes up to ten times as many
const LONGEST_RECORDING_MS = 10_000;
const WORKLET = `registerProcessor("recorder", class extends AudioWorkletProcessor {
  process([[samples]]) { if (samples) this.port.postMessage(samples.slice()); return true; }
});`;

/** A WAV file of float samples, one channel: eleven numbers and the samples. */
function wavFile(pieces, rate) {
  const bytes = 4 * pieces.reduce((sum, { length }) => sum + length, 0);
  const words = (text) => new DataView(new TextEncoder().encode(text).buffer).getUint32(0, true);
  const head = [words("RIFF"), 36 + bytes, words("WAVE"), words("fmt "), 16, 0x10003, rate, 4 * rate, 0x200004, words("data"), bytes];
  return new Blob([Uint32Array.from(head), ...pieces]);
}

/** The microphone, until `stop` is called: then a WAV file of what it heard. */
async function record() {
  if (!navigator.mediaDevices) throw new Error("it was not opened over https or on localhost");
  const exact = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: exact }); // first: a refusal must leave nothing open
  const context = new AudioContext(), pieces = [], url = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
  await context.audioWorklet.addModule(url);
  URL.revokeObjectURL(url);
  const recorder = new AudioWorkletNode(context, "recorder");
  recorder.port.onmessage = ({ data }) => pieces.push(data);
  context.createMediaStreamSource(stream).connect(recorder).connect(context.destination); // of silence: it only listens
  return {
    stop() {
      stream.getTracks().forEach((track) => track.stop());
      context.close();
      return wavFile(pieces, context.sampleRate);
    },
  };
}

/** A file or the microphone, handed to the kernel in pieces; `told` says how it went, in one sentence. */
class SoundSource {
  constructor(model, tools) {
    Object.assign(this, { model, count: 0, recording: null });
    this.file = h("input", { type: "file", accept: "audio/*,.wav,.flac,.ogg,.mp3", onchange: () => this.choose() });
    this.button = h("button", { type: "button", onclick: () => this.toggle() });
    this.told = h("p", { className: "message", role: "status" });
    this.element = h("div", {}, h("div", { className: "bar" }, h("label", {}, "a sound file (WAV, FLAC, Ogg, MP3)", this.file), this.button), this.told);
    this.showRecording();
    tools.panels.add(this);
    tools.listen("msg:custom", (message) => this.heard(message));
  }

  choose() {
    const [file] = this.file.files;
    if (file) this.send(file, file.name);
    this.file.value = ""; // or the same file could not be chosen again
  }

  async toggle() {
    if (this.recording) return this.stop();
    if (this.asking) return; // a button that is disabled would lose the focus
    this.asking = true;
    this.told.textContent = "Waiting for the microphone: allow it for this page.";
    try {
      this.recording = await record();
      this.timer = setTimeout(() => this.stop(), LONGEST_RECORDING_MS);
      this.told.textContent = `Play one note, then stop; it ends by itself after ${LONGEST_RECORDING_MS / 1000} s.`;
    } catch (error) {
      this.told.textContent = `This page cannot use a microphone (${error.message}); allow it, or choose a file.`;
    }
    this.asking = false;
    this.showRecording();
  }

  /** End a recording, if there is one, and hand it over. */
  stop() {
    if (!this.recording) return;
    clearTimeout(this.timer);
    this.send(this.recording.stop(), "your recording");
    this.recording = null;
    this.showRecording();
  }

  showRecording() {
    this.button.textContent = this.recording ? "■ stop recording" : "● record";
    this.button.setAttribute("aria-pressed", Boolean(this.recording));
  }

  send(file, name) {
    this.sending = { file, head: { id: ++this.count, name, size: file.size } };
    this.told.textContent = "Waiting for the kernel …";
    this.model.send(this.sending.head);
    this.expect();
  }

  expect() {
    clearTimeout(this.late);
    this.late = setTimeout(() => (this.told.textContent = SILENT_KERNEL), 1000 * ANSWER_SECONDS);
  }

  async heard({ id, wanted, error }) {
    if (id !== this.sending?.head.id) return; // of a sound before, or of another view of this widget
    clearTimeout(this.late);
    if (wanted === undefined) {
      this.sending = null;
      this.told.textContent = error ?? "";
      return;
    }
    const { file, head } = this.sending;
    this.expect();
    this.model.send(head, undefined, [await file.slice(wanted, wanted + PIECE).arrayBuffer()]);
  }
}

function sound(data, model, tools) {
  const panes = h("div", { className: "panes" });
  const source = model && new SoundSource(model, tools);
  let before = [];
  const show = (told) => {
    // All its notes are stored: none is asked of the kernel.
    const notes = new Notes(told, model, { ...tools, listen() {} }), { distances } = told.sound, [{ name: network }] = notes.networks;
    before.forEach((panel) => {
      panel.stop();
      tools.panels.delete(panel);
    });
    const [yours, near] = (before = [new NotePanel(notes, tools), new NotePanel(notes, tools)]);
    const steps = new Steps(near, (i) => `${notes.facts(i).name}, distance ${distances[i - 1].toFixed(2)}`, "near train note");
    steps.show(distances.map((_, i) => i + 1));
    yours.show(0);
    panes.replaceChildren(h("section", {}, h("h2", {}, "Your sound"), yours.element),
      h("section", {}, h("h2", {}, `Train notes nearest to it, as the ${network} hears them`), steps.element, near.element));
  };
  show(data);
  tools.listen("change:data", () => show(model.get("data")));
  return h("div", {}, source ? source.element : h("p", { className: "remark" }, "To try a sound of your own, run this notebook: a page without a kernel cannot ask the networks."), panes);
}

// ------------------------------------------------------------------------------------------------ a map of notes

// One shape a family, of radius 1, as in the figures: the second cue beside its colour.
const SHAPES = ["M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z", "M-.85-.85H.85V.85H-.85Z", "M0-1.2.9 0 0 1.2-.9 0Z", "M0-1.1 1.05.8H-1.05Z", "M0 1.1-1.05-.8H1.05Z",
  "M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z", "M0-1.25.3-.4 1.2-.4.48.15.74 1 0 .5-.74 1-.48.15-1.2-.4-.3-.4Z",
  "M-1-.5-.5-1 0-.5.5-1 1-.5.5 0 1 .5.5 1 0 .5-.5 1-1 .5-.5 0Z", "M-1.1 0 .8-1.05V1.05Z", "M1.1 0-.8-1.05V1.05Z"];
const REACH = 16, MARGIN = 24; // pixels: of the pointer, around the map
const HEARD_AFTER_MS = 80; // so long the pointer stays on a note that is heard
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** A colour of the figures, which stand on white, or its light shade for the dark theme. */
function onGround(hex, dark) {
  return `rgb(${[1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)).map((value) => Math.round(dark ? 255 - 0.55 * (255 - value) : value)).join(" ")})`;
}

/** Notes as marks in the plane: heard under the pointer, walked by arrows, opened by click or Enter. */
class NoteMap {
  constructor(data, notes, tools) {
    Object.assign(this, { notes, tools, at: 0, opened: 0, family: null, awake: false, audio: new Audio() });
    Object.assign(this, { x: column(data.x, Float32Array), y: column(data.y, Float32Array), shares: data.shares, colours: data.colours });
    this.answers = Array.from(this.x, (_, i) => notes.answer(notes.networks[0], i));
    this.label = Array.from(this.x, (_, i) => notes.families.indexOf(notes.facts(i).family));
    this.canvas = h("canvas", { tabIndex: 0, role: "application", className: "map", "aria-label": `Map of ${notes.length.toLocaleString("en")} notes by what the `
      + `${notes.networks[0].name} holds of them; arrows go to the nearest note in their direction, Enter opens it, Space plays it` });
    this.told = h("p", { className: "told", role: "status" });
    this.hears = h("input", { type: "checkbox", checked: true, onchange: () => this.stop() });
    this.keys = notes.families.map((name, label) => {
      const mark = h("span", { className: "mark" });
      mark.innerHTML = `<svg viewBox="-1.3 -1.3 2.6 2.6" aria-hidden="true"><path d="${SHAPES[label]}" fill="currentColor"/></svg>`;
      return h("button", { type: "button", "aria-pressed": "false", title: `only ${name}`, onclick: () => this.single(label) }, mark, name);
    });
    this.panel = new NotePanel(notes, tools);
    const short = data.total > notes.length ? `This map shows ${notes.length.toLocaleString("en")} of the ${data.total.toLocaleString("en")} notes. ` : "";
    this.element = h("div", { className: "beside" }, h("section", {}, h("div", { className: "bar", role: "group", "aria-label": "families" }, ...this.keys),
      h("p", { className: "remark" }, `${short}Filled: the ${notes.networks[0].name} is right; hollow: wrong.`), this.canvas, this.told,
      h("label", { className: "tick" }, this.hears, "hear the note under the pointer"), this.inWords()), this.panel.element);
    this.listen();
    this.panel.show(0);
    this.told.textContent = "Click the map, or go to it with Tab: from then on notes are heard as the pointer or an arrow reaches them.";
    tools.panels.add(this);
  }

  listen() {
    const { canvas } = this, within = (event) => {
      const box = canvas.getBoundingClientRect();
      return this.nearest((i) => Math.hypot(this.left[i] - event.clientX + box.left, this.top[i] - event.clientY + box.top), REACH);
    };
    canvas.addEventListener("pointermove", (event) => {
      const i = within(event);
      canvas.style.cursor = i === undefined ? "default" : "pointer";
      if (i !== undefined && i !== this.at) this.go(i);
    });
    canvas.addEventListener("pointerleave", () => this.stop());
    canvas.addEventListener("click", (event) => {
      const i = within(event);
      this.awake = true;
      if (i !== undefined) this.open(i);
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      this.awake = true;
      if (event.key in DIRECTIONS) this.walk(...DIRECTIONS[event.key]);
      else if (event.key === "Enter") this.open(this.at);
      else if (event.key === " ") this.go(this.at);
      else return;
      event.preventDefault();
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Whether a note is among those of the chosen family. */
  shows(i) {
    return this.family === null || this.label[i] === this.family;
  }

  /** The shown note of the smallest distance below a limit. */
  nearest(distance, limit = Infinity) {
    let best, least = limit;
    for (let i = 0; i < this.x.length; i++) {
      const far = this.shows(i) ? distance(i) : Infinity;
      if (far < least) [best, least] = [i, far];
    }
    return best;
  }

  /** The nearest note within 45 degrees of a direction. */
  walk(right, down) {
    const next = this.nearest((i) => {
      const dx = this.left[i] - this.left[this.at], dy = this.top[i] - this.top[this.at];
      const along = dx * right + dy * down, aside = Math.abs(dx * down) + Math.abs(dy * right);
      return along > 0 && aside <= along ? Math.hypot(dx, dy) : Infinity;
    });
    if (next !== undefined) this.go(next);
  }

  /** Show only one family, or all again. */
  single(label) {
    this.family = this.family === label ? null : label;
    this.keys.forEach((key, i) => key.setAttribute("aria-pressed", i === this.family));
    if (!this.shows(this.at)) this.at = this.nearest((i) => Math.hypot(this.left[i] - this.left[this.at], this.top[i] - this.top[this.at])) ?? this.at;
    this.draw();
  }

  go(i) {
    this.at = i;
    this.told.textContent = this.describe(i);
    this.draw();
    clearTimeout(this.soon);
    this.soon = setTimeout(() => this.hear(i), HEARD_AFTER_MS);
  }

  open(i) {
    this.opened = i;
    this.panel.show(i);
    this.go(i);
  }

  describe(i) {
    const { name } = this.notes.facts(i), { correct, predicted, probabilities } = this.answers[i];
    return `${name}: ${correct ? "right" : `taken for ${this.notes.families[predicted]}`}, ${percent(probabilities[predicted])} sure`;
  }

  async hear(i) {
    if (!this.awake || !this.hears.checked) return;
    const note = await this.notes.load(i).catch(() => null);
    if (!note || this.at !== i) return;
    this.tools.panels.forEach((panel) => panel.stop()); // one note is heard at a time
    this.audio.src = note.url;
    this.audio.play().catch(() => {}); // a browser that wants another click first stays silent
  }

  stop() {
    clearTimeout(this.soon);
    this.audio.pause();
  }

  /** For who cannot see it: where each family lies, and how often the note next to one of it is of it, too. */
  inWords() {
    const near = Array.from(this.x, (_, i) => this.nearest((j) => (j === i ? Infinity : Math.hypot(this.x[i] - this.x[j], this.y[i] - this.y[j]))));
    const rows = this.notes.families.map((family, label) => {
      const its = Array.from(this.x.keys()).filter((i) => this.label[i] === label), mean = (values) => (its.reduce((sum, i) => sum + values[i], 0) / its.length).toFixed(1);
      const right = its.filter((i) => this.answers[i].correct).length, alike = its.filter((i) => this.label[near[i]] === label).length;
      return [family, its.length, right, its.length ? `${mean(this.x)}, ${mean(this.y)}` : "–", alike];
    });
    const head = ["family", "notes", "right", "centre on the two axes", "next to a note of the same family"];
    return h("div", { className: "unseen" }, h("table", {}, h("caption", {}, "The map in words"), h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text))),
      ...rows.map(([family, ...cells]) => h("tr", {}, h("th", { scope: "row" }, family), ...cells.map((cell) => h("td", {}, cell))))));
  }

  draw() {
    const extent = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    const [west, east] = extent(this.x), [south, north] = extent(this.y), room = this.canvas.clientWidth;
    const ratio = (north - south || 1) / (east - west || 1), height = clamp((room - 2 * MARGIN) * ratio + 2 * MARGIN, 240, 520);
    const { context, width } = prepare(this.canvas, height), colour = this.tools.theme(), dark = colour === THEMES.dark;
    if (!context) return;
    // One scale for both axes: what looks near is near, as far as two of many axes tell.
    const scale = Math.min((width - 2 * MARGIN) / (east - west || 1), (height - 2 * MARGIN) / (north - south || 1));
    const size = width < 500 ? 3.5 : 4.5, drawn = this.colours.map((hex) => onGround(hex, dark));
    this.left = this.x.map((x) => width / 2 + (x - (west + east) / 2) * scale);
    this.top = this.y.map((y) => height / 2 - (y - (south + north) / 2) * scale);
    context.fillStyle = colour.quiet;
    context.fillRect(0, 0, width, height);
    context.fillStyle = colour.muted;
    context.textAlign = "left";
    context.fillText(`→ ${percent(this.shares[0])} of the variance   ↑ ${percent(this.shares[1])}`, 8, height - 10);
    const mark = (i) => {
      context.save();
      context.translate(this.left[i], this.top[i]);
      context.scale(size, size);
      context.globalAlpha = this.shows(i) ? 1 : 0.12;
      context.fillStyle = context.strokeStyle = drawn[this.label[i]];
      context.lineWidth = 1.4 / size;
      const shape = new Path2D(SHAPES[this.label[i]]);
      if (this.answers[i].correct) context.fill(shape);
      else context.stroke(shape);
      context.restore();
    };
    for (let i = 0; i < this.x.length; i++) mark(i);
    const ring = (i, radius, stroke) => {
      mark(i);
      context.strokeStyle = stroke;
      context.lineWidth = 2;
      context.beginPath();
      context.arc(this.left[i], this.top[i], radius, 0, 2 * Math.PI);
      context.stroke();
    };
    ring(this.opened, 2 * size, colour.text);
    ring(this.at, 2.7 * size, colour.cursor);
    this.keys.forEach((key, label) => (key.firstChild.style.color = drawn[label]));
  }
}

// --------------------------------------------------------------------------------------------- a training, watched

const CURVES = [
  { title: "loss (cross-entropy)", column: "loss", scale: 1, unit: "" },
  { title: "accuracy (%)", column: "accuracy", scale: 100, unit: " %" },
];
const UNANSWERED_MS = 3000; // after which a kernel that runs a cell is taken to be deaf

function duration(seconds) {
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60), hours = Math.floor(minutes / 60);
  return hours ? `${hours} h ${minutes % 60} min` : minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

/** Loss and accuracy of train and valid per epoch. */
class TrainingView {
  constructor(model, tools) {
    Object.assign(this, { model, tools });
    this.told = h("p", { role: "status" });
    this.bar = h("progress", { max: 1, value: 0, "aria-label": "training done" });
    this.button = h("button", { type: "button", onclick: () => this.askToStop() }, "■ stop after this epoch");
    this.answer = h("span", { className: "message", role: "status" });
    this.canvases = CURVES.map(({ title }) => h("canvas", { role: "img", "aria-label": title }));
    this.table = h("div", { className: "unseen" });
    this.element = h("section", { className: "training" }, this.told, h("div", { className: "bar" }, this.bar, this.button, this.answer),
      h("div", { className: "panes" }, ...this.canvases), this.table);
    new ResizeObserver(() => this.draw()).observe(this.element);
    tools.panels.add(this);
  }

  askToStop() {
    this.button.disabled = true;
    this.answer.textContent = "asking the kernel …";
    this.model.send({ stop: true });
    this.deaf = setTimeout(() => {
      this.button.disabled = false;
      this.answer.textContent = "This page reaches the kernel between cells only: interrupt the kernel instead; finished epochs are kept.";
    }, UNANSWERED_MS);
  }

  heard({ stopping }) {
    if (!stopping) return;
    clearTimeout(this.deaf);
    this.button.disabled = true;
    this.answer.textContent = "It stops after this epoch; run the cell again to go on.";
  }

  show(data) {
    this.data = data;
    const { state, network, epochs, history, progress, seconds_left: left } = data;
    if (!state) return;
    const done = `${history.length} of ${epochs} epoch${epochs === 1 ? "" : "s"}`;
    this.told.textContent = `${network}: ` + (state === "running" ? `${done} done${left === null ? "" : `, ${duration(left)} left`}`
      : state === "stopped" ? `stopped after ${done}; run the cell again to go on` : `${done} done`);
    this.bar.value = progress;
    this.button.hidden = state !== "running" || !this.model;
    if (state !== "running") this.answer.textContent = "";
    const columns = Object.keys(history[0] ?? {});
    this.table.replaceChildren(h("table", {}, h("caption", {}, "The curves in numbers"), h("tr", {}, ...columns.map((name) => h("th", { scope: "col" }, name.replace("_", " ")))),
      ...history.map((row) => h("tr", {}, ...columns.map((name) => h("td", {}, Number.isInteger(row[name]) ? row[name] : row[name]?.toFixed(3) ?? "–"))))));
    this.draw();
  }

  draw() {
    this.canvases.forEach((canvas, number) => this.data?.state && this.drawCurves(canvas, CURVES[number]));
  }

  drawCurves(canvas, { title, column, scale, unit }) {
    const { history, epochs } = this.data, colour = this.tools.theme(), height = 200, left = 44, bottom = 34, top = 20, right = 12;
    const { context, width } = prepare(canvas, height);
    if (!context) return;
    const values = (split) => history.map((row) => scale * (row[`${split}_${column}`] ?? NaN)); // a training that diverged has no loss
    const [train, valid] = [values("train"), values("valid")], all = [...train, ...valid].filter(Number.isFinite);
    const high = scale === 100 ? 100 : 1.05 * Math.max(...all, 0.1);
    const x = (epoch) => left + ((epoch - 1) / Math.max(epochs - 1, 1)) * (width - left - right);
    const y = (value) => top + (1 - value / high) * (height - top - bottom);
    context.textAlign = "left";
    context.fillStyle = colour.text;
    context.fillText(title, left, 8);
    context.fillStyle = colour.muted;
    const tick = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 25, 50].find((step) => high / step <= 5) ?? high;
    for (let value = 0; value <= high; value += tick) {
      context.fillStyle = colour.quiet;
      context.fillRect(left, y(value), width - left - right, 1);
      context.fillStyle = colour.muted;
      context.textAlign = "right";
      context.fillText(`${+value.toFixed(1)}`, left - 6, y(value));
    }
    context.textAlign = "center";
    const every = Math.ceil(epochs / Math.max(Math.floor(width / 60), 1));
    for (let epoch = 1; epoch <= epochs; epoch += every) context.fillText(epoch, x(epoch), height - bottom + 12);
    context.fillText("epoch", left + (width - left - right) / 2, height - 8);
    for (const [name, points, strokes, drawn] of [["train", train, [], colour.strong], ["valid", valid, [5, 3], colour.cursor]]) {
      context.strokeStyle = context.fillStyle = drawn;
      context.setLineDash(strokes);
      context.beginPath();
      points.forEach((value, i) => context.lineTo(x(i + 1), y(value)));
      context.stroke();
      context.setLineDash([]);
      points.forEach((value, i) => name === "train" ? context.fillRect(x(i + 1) - 2.5, y(value) - 2.5, 5, 5) : context.strokeRect(x(i + 1) - 3, y(value) - 3, 6, 6));
      context.textAlign = "right";
      context.fillText(`${name === "train" ? "■ train" : "□ valid"}`, width - right - (name === "train" ? 56 : 0), 8);
    }
    const now = history.at(-1);
    canvas.setAttribute("aria-label", now ? `${title} after epoch ${now.epoch}: train ${(scale * now[`train_${column}`]).toFixed(2)}${unit}, valid ${(scale * now[`valid_${column}`]).toFixed(2)}${unit}` : `${title}: no epoch is done yet`);
  }
}

function training(data, model, tools) {
  const shown = new TrainingView(model, tools);
  shown.show(data);
  tools.listen("change:data", () => shown.show(model.get("data")));
  tools.listen("msg:custom", (message) => shown.heard(message));
  return shown.element;
}

// ------------------------------------------------------------------------------------------------ theme and page

const THEMES = {
  light: { text: "#1b1f24", muted: "#59636e", line: "#0b62a4", quiet: "#eef1f5", strong: "#0b62a4", cursor: "#c2410c", border: "#c4ccd6", face: "#f6f8fa" },
  dark: { text: "#e8ebef", muted: "#a3adb8", line: "#7cc0ff", quiet: "#262c34", strong: "#7cc0ff", cursor: "#ffb454", border: "#4a535e", face: "#2b323b" },
};
const variables = (colours) => Object.entries(colours).map(([name, colour]) => `--${name}: ${colour};`).join(" ");

const STYLE = `
:host { display: block; font: 14px/1.45 var(--jp-ui-font-family, system-ui, sans-serif); color: var(--text); ${variables(THEMES.light)} color-scheme: light; }
:host([data-dark]) { ${variables(THEMES.dark)} color-scheme: dark; }
* { box-sizing: border-box; }
h2, h3 { margin: .2em 0; font-size: 1.05em; overflow-wrap: anywhere; } h3 { font-size: 1em; }
p { margin: .2em 0; } .remark, .facts, .message, .count { color: var(--muted); } .facts strong { color: var(--text); }
.message { min-height: 1.45em; } .remark { font-size: .9em; }
.bar, .guesses { display: flex; flex-wrap: wrap; gap: .4em; align-items: center; margin: .4em 0; }
.panes { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 27rem), 1fr)); gap: .4em 1.6em; align-items: start; }
.panes > * { min-width: 0; } .alone h2 { display: none; }
.beside { display: flex; flex-wrap: wrap; gap: .4em 1.6em; align-items: flex-start; } .beside > * { flex: 1 1 24rem; min-width: 0; max-width: 100%; } .beside > .matrix { flex: 0 1 auto; }
.menus { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.6rem, 1fr)); gap: .4em; }
label { display: flex; flex-direction: column; font-size: .85em; color: var(--muted); min-width: 0; }
label.tick { flex-direction: row; align-items: center; gap: .4em; font-size: 1em; color: var(--text); }
button, select { font: inherit; color: var(--text); background: var(--face); border: 1px solid var(--border); border-radius: 4px; padding: .25em .6em; min-height: 30px; max-width: 100%; }
select { padding: .2em .3em; min-width: 0; } .bar > select { flex: 1 1 100%; max-width: min(100%, 34rem); } button { cursor: pointer; } button:disabled { opacity: .5; cursor: default; }
button:hover:not(:disabled) { border-color: var(--line); }
:focus-visible { outline: 2px solid var(--cursor); outline-offset: 1px; }
.play { min-width: 5.2em; } [hidden] { display: none !important; } .note.empty > :not(.message) { display: none; }
canvas { display: block; width: 100%; touch-action: pan-y; cursor: crosshair; border-radius: 3px; }
table { border-collapse: collapse; font-size: .9em; background: none; }
.answers table { width: 100%; max-width: 34rem; } .answers th { text-align: left; font-weight: normal; white-space: nowrap; padding-right: .6em; }
.answers tr:first-child th { color: var(--muted); } .answers .actual th, .answers .most { font-weight: bold; }
.answers td { width: 45%; white-space: nowrap; line-height: 1.35; font-variant-numeric: tabular-nums; }
progress { height: .8em; flex: 1 1 10em; max-width: 20em; accent-color: var(--strong); } .training canvas { cursor: default; }
.share { display: inline-block; width: calc((100% - 3.8em) * var(--p)); height: .7em; min-width: 1px; background: var(--strong); opacity: .55; } .most .share { opacity: 1; }
.scroll { overflow-x: auto; } [role=grid] { font-variant-numeric: tabular-nums; }
[role=grid] th { font-weight: normal; padding: .1em .4em .1em 0; text-align: right; } [role=grid] [role=columnheader] { vertical-align: bottom; padding: .2em 0; text-align: center; }
[role=columnheader] span { writing-mode: vertical-rl; transform: rotate(180deg); }
[role=gridcell] { width: 2.5em; min-width: 22px; height: 2em; text-align: center; color: var(--muted); border: 1px solid var(--border); padding: 0; }
.gallery [role=gridcell] { width: auto; padding: 0 .5em; } .gallery [role=columnheader] span { writing-mode: initial; transform: none; display: block; padding: 0 .5em; }
[role=gridcell].filled { cursor: pointer; color: var(--text); background: color-mix(in srgb, var(--strong) var(--share), transparent); }
[role=gridcell].deep { color: #fff; } :host([data-dark]) [role=gridcell].bright { color: #10151b; }
[role=gridcell].diagonal { border-width: 2px; } [role=gridcell][aria-selected=true] { outline: 3px solid var(--cursor); outline-offset: -1px; font-weight: bold; }
.mark svg { width: 11px; height: 11px; margin-right: .35em; } button[aria-pressed=true] { border-color: var(--cursor); font-weight: bold; }
.map + .told { min-height: 2.9em; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 600px) { [role=grid] { font-size: .78em; } }
@media print { .bar, .menus { display: none; } }
`;

/** Whether the page around is dark: JupyterLab, VS Code and Colab say so, any other page follows the system. */
function isDark() {
  const { body, documentElement } = document, told = body.dataset.jpThemeLight;
  if (told) return told === "false";
  if (body.classList.contains("vscode-dark") || documentElement.getAttribute("theme") === "dark") return true;
  if (body.classList.contains("vscode-light") || documentElement.getAttribute("theme") === "light") return false;
  return matchMedia("(prefers-color-scheme: dark)").matches;
}

const KINDS = {
  explorer: (data, model, tools) => explorer(data, new Notes(data, model, tools), tools),
  confusion: (data, model, tools) => confusion(data, new Notes(data, model, tools), tools),
  gallery: (data, model, tools) => gallery(data, new Notes(data, model, tools), tools),
  sound,
  map: (data, model, tools) => new NoteMap(data, new Notes(data, model, tools), tools).element,
  training,
};

function open(el, data, model) {
  const host = h("div", { className: "nsynth-note-view" });
  const root = host.attachShadow({ mode: "open" });
  el.replaceChildren(host);
  // Keys typed here are for here: a notebook would cut cells at "x" or "d d".
  for (const kind of ["keydown", "keypress", "keyup"]) host.addEventListener(kind, (event) => event.stopPropagation());
  const panels = new Set(), heard = [];
  const tools = {
    panels,
    /** The colours for a canvas. */
    theme: () => THEMES[isDark() ? "dark" : "light"],
    /** Hear the kernel, if there is one, as long as this view is on the page. */
    listen(event, act) {
      model?.on(event, act);
      heard.push([event, act]);
    },
  };
  root.append(h("style", {}, STYLE));
  const dress = () => {
    host.toggleAttribute("data-dark", isDark());
    // In the frame after: while a notebook changes its theme, nothing on it has a size.
    requestAnimationFrame(() => panels.forEach((panel) => panel.draw?.()));
  };
  dress();
  root.append(KINDS[data.kind](data, model, tools));
  const system = matchMedia("(prefers-color-scheme: dark)"), watch = new MutationObserver(dress);
  system.addEventListener("change", dress);
  watch.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  watch.observe(document.documentElement, { attributes: true, attributeFilter: ["theme", "class"] });
  return () => {
    watch.disconnect();
    system.removeEventListener("change", dress);
    panels.forEach((panel) => panel.stop?.());
    heard.forEach(([event, act]) => model?.off(event, act));
  };
}

/** anywidget's entry: `data` is the model's only state, sounds beyond it come by message. */
function render({ model, el }) {
  return open(el, model.get("data"), model);
}

/** The entry of a plain page, without any kernel. */
export function mount(el, data) {
  return open(el, data, null);
}

export default { render };

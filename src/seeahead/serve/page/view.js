// What is drawn: turns of the conversation, words by who said them first, figures. Texts are set as texts, never as HTML.

import { speak } from "./screen.js";

const FIGURES = {
  tau: ["τ", 2, "Block efficiency: tokens per pass of the model, the first token aside. Without a drafter it is 1."],
  rate: ["tokens/s", 1, "Tokens per second, counted from the first one."],
  first: ["s to the first token", 2, "Seconds from the question to the first token: the model reads the question and its images."],
  tokens: ["tokens", 0, "How many tokens the answer has. A token is a word or a part of one."],
  drafted: ["% drafted", 0, "How many of the tokens a drafter proposed and the model confirmed."],
};

export function made(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

export const counted = (num, noun) => `${num} ${noun}${num === 1 ? "" : "s"}`;

export function button(className, text, act) {
  const element = made("button", className, text);
  element.type = "button";
  if (act) element.addEventListener("click", act);
  return element;
}

/** The user's turn. */
export function question(text, images) {
  const turn = made("li", "turn asked");
  turn.append(made("h2", "unseen", "You asked"));
  if (images.length) {
    const thumbs = made("div", "thumbs");
    thumbs.append(...images.map(thumbnail));
    turn.append(thumbs);
  }
  if (text) turn.append(made("p", "", text));
  return turn;
}

export function thumbnail(image) {
  const shown = made("img");
  shown.src = image.url;
  shown.alt = (image.name ? `Image ${image.name}` : "Pasted image") + image.note;
  shown.title = shown.alt;
  return shown;
}

const NUM_COLOURS = 5; // as many as marks.css has; more drafters share them
const colours = new Map(); // a drafter keeps its colour as long as the page is open
function colourOf(source) {
  if (!colours.has(source)) colours.set(source, colours.size % NUM_COLOURS);
  return `c${colours.get(source)}`;
}

/** An answer that grows. */
export class AnswerView {
  constructor(title) {
    this.element = made("div", "answer busy");
    this.element.setAttribute("aria-busy", "true");
    this.text = made("div", "text");
    this.legend = made("p", "legend");
    this.figures = made("p", "figures");
    // Drawn once, and only their numbers change: what the reader points at stays where it is.
    this.shown = Object.fromEntries(Object.keys(FIGURES).map((name) => [name, figure(name)]));
    this.figures.append(...Object.values(this.shown).map(({ element }) => element));
    this.state = made("p", "state");
    this.actions = made("div", "actions");
    const heading = made("h2", "", title);
    this.element.append(heading, this.text, this.state, this.legend, this.figures, this.actions);
    this.sources = new Set();
    this.refused = ""; // of a draft whose place in the text has not come yet
  }

  /** A step: runs of text with their sources, and what the model refused after the drafted ones. */
  add(runs, refused) {
    const lastDrafted = runs.findLastIndex(({ source }) => source !== "target");
    if (lastDrafted < 0) this.refused ||= refused.join("");
    for (const [index, run] of runs.entries()) {
      if (run.source === "target") this.addOwn(run.text);
      else this.addDrafted(run);
      if (index === lastDrafted) this.refused ||= refused.join("");
    }
  }

  /** A sign of what was refused stands before the model's own words, which may come a step later. */
  addOwn(text) {
    if (!text) return;
    this.sign(text);
    this.text.append(text);
  }

  /** Tab reaches the first sign of an answer, and arrows the others. */
  sign(instead) {
    if (!this.refused) return;
    const sign = refusal(this.refused, instead);
    sign.tabIndex = this.text.querySelector(".refused") ? -1 : 0;
    this.text.append(sign);
    this.refused = "";
  }

  /** Blanks at the ends stay outside of the mark: an underlined gap at a line's end is ugly. */
  addDrafted({ text, source }) {
    if (!text) return;
    // What is held here is of an earlier step, whose own word is half a character that this text completes.
    this.sign(text);
    this.name(source);
    const [, before, words, after] = /^(\s*)([^]*?)(\s*)$/.exec(text);
    if (!words) return this.addBlank(before);
    const last = this.text.lastChild;
    const mark = last?.isBlank ? last.previousSibling : last;
    if (mark?.dataset?.source === source) {
      mark.append((last === mark ? "" : last.textContent) + before + words);
      if (last !== mark) last.remove();
    } else {
      this.text.append(before, marked(words, source));
    }
    return this.addBlank(after);
  }

  addBlank(text) {
    if (!text) return;
    const blank = document.createTextNode(text);
    // Only a blank right after a mark may be taken into it, when the same drafter goes on.
    blank.isBlank = this.text.lastChild?.nodeName === "MARK";
    this.text.append(blank);
  }

  /** The legend has the drafters of this answer. */
  name(source) {
    if (this.sources.has(source)) return;
    this.sources.add(source);
    if (this.sources.size === 1) this.legend.append(made("span", "", "plain: the model's own words"));
    this.legend.append(marked(`drafted by ${source}`, source));
  }

  show(figures) {
    for (const [name, value] of Object.entries(figures)) {
      if (value === null || !Number.isFinite(value)) continue;
      const { element, number } = this.shown[name];
      number.textContent = value.toFixed(FIGURES[name][1]);
      element.hidden = false;
    }
  }

  /** One sentence under the text: stopped, cut, or failed. */
  say(words, isFailure = false) {
    this.state.textContent = words;
    this.state.classList.toggle("failed", isFailure);
  }

  end() {
    this.element.classList.remove("busy");
    this.element.removeAttribute("aria-busy");
  }

  action(name, act) {
    const pressed = button("", name, () => act(pressed));
    this.actions.append(pressed);
    return pressed;
  }
}

function marked(words, source) {
  const mark = made("mark", colourOf(source), words);
  mark.dataset.source = source;
  return mark;
}

function figure(name) {
  const [unit, , meaning] = FIGURES[name];
  const element = button("figure");
  const number = made("b");
  element.append(...(name === "tau" ? [`${unit} `, number] : [number, ` ${unit}`]));
  element.hidden = true;
  element.setAttribute("aria-describedby", described(name, meaning));
  explain(element, meaning);
  return { element, number };
}

/** The id of a hidden text, which all figures of the name share. */
function described(name, meaning) {
  const id = `meaning-${name}`;
  if (!document.getElementById(id)) {
    const text = made("p", "", meaning);
    text.id = id;
    text.hidden = true;
    document.body.append(text);
  }
  return id;
}

/** A sign where a draft was refused. Its name is what a screen reader says, and only where the reader goes to it.
 *
 * It is no <button>: a line may break before one, and the sign would begin the next line, far from its word. */
function refusal(refused, instead) {
  const words = `refused: “${refused.trim() || refused}”; the model said “${instead.trim() || "…"}”`;
  const sign = made("span", "refused", "×");
  sign.setAttribute("role", "button");
  sign.setAttribute("aria-label", words);
  explain(sign, words);
  sign.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
    if (["ArrowLeft", "ArrowRight"].includes(event.key)) {
      event.preventDefault();
      moveOn(sign, event.key === "ArrowRight" ? 1 : -1);
    }
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    openTip(sign, words);
  });
  return sign;
}

/** The focus, from one sign of an answer to another. */
function moveOn(sign, step) {
  const all = [...sign.parentElement.querySelectorAll(".refused")];
  const other = all[all.indexOf(sign) + step];
  if (!other) return;
  for (const one of all) one.tabIndex = one === other ? 0 : -1;
  other.focus();
}

let tip = null; // one at a time, over all of the page
let closing; // the timer by which a tip is closed that the pointer has left
const TIP_MS = 200; // in which a pointer comes from a word to its tip

export function closeTip() {
  clearTimeout(closing);
  const wasOpen = tip !== null;
  tip?.remove();
  tip = null;
  return wasOpen;
}

function openTip(element, words) {
  closeTip();
  tip = made("div", "tip", words);
  tip.about = element;
  tip.setAttribute("aria-hidden", "true"); // a screen reader has the same words at the element itself
  tip.addEventListener("pointerenter", () => clearTimeout(closing));
  tip.addEventListener("pointerleave", closeSoon);
  document.body.append(tip);
  place();
}

function closeSoon() {
  clearTimeout(closing);
  closing = setTimeout(closeTip, TIP_MS);
}

function place() {
  const at = tip.about.getBoundingClientRect();
  const own = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - own.width - 8))}px`;
  tip.style.top = `${at.top > own.height + 12 ? at.top - own.height - 6 : at.bottom + 6}px`;
}

/** Words that appear on hover, focus and touch; Escape and a touch elsewhere close them, and so does scrolling, but of what is focused. */
function explain(element, words) {
  for (const name of ["focus", "click"]) element.addEventListener(name, () => openTip(element, words));
  element.addEventListener("pointermove", (event) => {
    // Only a pointer that moves asks: an answer that grows slides its parts under one that rests.
    if (event.pointerType === "touch") return;
    clearTimeout(closing);
    if (tip?.about !== element) openTip(element, words);
  });
  element.addEventListener("pointerleave", closeSoon);
  element.addEventListener("blur", closeTip);
}

addEventListener("pointerdown", (event) => tip?.contains(event.target) || closeTip());
// A browser scrolls to what is focused after it has focused it.
addEventListener("scroll", () => (tip?.about === document.activeElement ? tip && place() : closeTip()), { passive: true });

/** The text of an answer to the clipboard; the button says what became of it. */
export async function copy(text, pressed) {
  const isDone = await writeClipboard(text);
  pressed.textContent = isDone ? "Copied" : "Not copied";
  speak([pressed.textContent]);
  setTimeout(() => (pressed.textContent = "Copy"), 2000);
}

/** The clipboard of today is there on this machine and under https only; elsewhere the old way does. */
async function writeClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const box = made("textarea", "unseen");
    box.value = text;
    Object.assign(box.style, { position: "fixed", top: 0 }); // else the page scrolls to it
    document.body.append(box);
    const focused = document.activeElement;
    box.select();
    const isDone = document.execCommand("copy");
    box.remove();
    focused?.focus({ preventScroll: true });
    return isDone;
  }
}

/** Two answers side by side: whether they are the same, and how much sooner the drafted one was there.
 *
 * Of two in turn, the second is spared reading the image again: the time to the first token counts the same for both. */
export function verdict(drafted, plain, { isTogether, isSampled }) {
  const isSame = drafted.text === plain.text;
  const whole = isTogether ? plain.seconds : plain.seconds - plain.first + drafted.first;
  const sooner = whole / drafted.seconds;
  const pace = sooner >= 1 ? `was done ${sooner.toFixed(1)} times as soon` : `took ${(1 / sooner).toFixed(1)} times as long`;
  const why = isSampled
    ? "at a temperature above 0 each is a draw from the model's distribution"
    : "rounding decides where two words are all but equally likely";
  const same = isSame ? `Both texts are the same. The drafted answer ${pace}.` : `The texts differ: ${why}. The drafted answer ${pace}.`;
  const words = isTogether ? `${same} They ran together and shared the machine.` : same;
  return made("p", isSame ? "verdict" : "verdict parted", words);
}

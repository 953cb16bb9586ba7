// What is drawn: turns of the conversation, words by who said them first, figures. Texts are set as texts, never as HTML.

const made = (tag, className, text) => {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
};

const FIGURES = {
  tau: ["τ", "Tokens per pass of the model: without a drafter this is 1."],
  rate: ["tokens/s", "Tokens per second after the first one."],
  first: ["s to the first", "Seconds from the question to the first token."],
  tokens: ["tokens", "Length of the answer."],
  drafted: ["% drafted", "Tokens that the drafter guessed and the model confirmed."],
};

/** The user's turn. */
export function question(text, images) {
  const turn = made("li", "turn asked");
  if (images.length) {
    const thumbs = made("div", "thumbs");
    for (const image of images) thumbs.append(picture(image));
    turn.append(thumbs);
  }
  if (text) turn.append(made("p", "", text));
  return turn;
}

export function picture(image) {
  const shown = made("img");
  shown.src = image.url;
  shown.alt = image.name ? `Image ${image.name}` : "Pasted image";
  return shown;
}

const colours = new Map(); // a drafter keeps its colour as long as the page is open
const colourOf = (source) => {
  if (!colours.has(source)) colours.set(source, colours.size % 5);
  return `c${colours.get(source)}`;
};

/** An answer that grows. */
export class AnswerView {
  constructor(title) {
    this.element = made("div", "answer busy");
    this.text = made("div", "text");
    this.figures = made("p", "figures");
    this.actions = made("div", "actions");
    this.element.append(made("h3", "", title), this.text, this.figures, this.actions);
    this.sources = new Set();
  }

  /** A step: runs of text with their sources, and what the model refused after the drafted ones. */
  add(runs, refused) {
    let isMarked = false;
    for (const run of runs) {
      const isDrafted = run.source !== "target";
      if (!isDrafted && refused.length && !isMarked) {
        this.text.append(refusal(refused, run.text));
        isMarked = true;
      }
      if (!run.text) continue;
      const last = this.text.lastChild;
      if (!isDrafted) this.text.append(run.text);
      else if (last?.dataset?.source === run.source) last.textContent += run.text;
      else {
        const mark = made("mark", colourOf(run.source), run.text);
        mark.dataset.source = run.source;
        this.sources.add(run.source);
        this.text.append(mark);
      }
    }
  }

  show(figures) {
    const shown = Object.entries(figures).filter(([, value]) => value !== null && Number.isFinite(value));
    const parts = shown.map(([name, value]) => {
      const [unit, told] = FIGURES[name];
      const figure = made("span", "figure");
      const number = made("b", "", name === "tokens" || name === "drafted" ? String(Math.round(value)) : value.toFixed(name === "rate" ? 1 : 2));
      figure.append(...(name === "tau" ? [`${unit} `, number] : [number, ` ${unit}`]));
      explain(figure, told);
      return figure;
    });
    this.figures.replaceChildren(...parts);
  }

  legend() {
    if (!this.sources.size) return;
    const legend = made("span", "legend text");
    for (const source of this.sources) legend.append(made("mark", colourOf(source), `drafted by ${source}`));
    this.figures.append(legend);
  }

  fail(message) {
    this.element.append(made("p", "failed", message));
  }

  end() {
    this.element.classList.remove("busy");
  }

  action(name, act) {
    const button = made("button", "", name);
    button.type = "button";
    button.addEventListener("click", act);
    this.actions.append(button);
    return button;
  }
}

function refusal(refused, instead) {
  const sign = made("button", "refused", "×");
  sign.type = "button";
  const words = `Refused: “${refused.join("")}”. The model said “${instead.trim() || "…"}”.`;
  sign.setAttribute("aria-label", words);
  explain(sign, words);
  return sign;
}

/** Words that appear on hover, focus and touch. */
function explain(element, words) {
  if (element.tagName !== "BUTTON") {
    element.tabIndex = 0;
    element.append(made("span", "unseen", ` (${words})`));
  }
  let tip = null;
  const open = () => {
    if (tip) return;
    tip = made("div", "tip", words);
    tip.setAttribute("aria-hidden", "true");
    document.body.append(tip);
    const at = element.getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(at.left, innerWidth - own.width - 8))}px`;
    tip.style.top = `${at.top > own.height + 12 ? at.top - own.height - 6 : at.bottom + 6}px`;
  };
  const close = () => {
    tip?.remove();
    tip = null;
  };
  for (const name of ["pointerenter", "focus", "click"]) element.addEventListener(name, open);
  for (const name of ["pointerleave", "blur"]) element.addEventListener(name, close);
  element.addEventListener("keydown", (event) => event.key === "Escape" && close());
}

/** Two answers side by side: whether they are the same, and how much sooner the drafted one was there.
 *
 * The second is spared reading the image again, so the time to the first token counts the same for both. */
export function verdict(drafted, plain) {
  const isSame = drafted.text === plain.text;
  const sooner = (plain.seconds - plain.first + drafted.first) / drafted.seconds;
  const pace = sooner >= 1 ? `was there ${sooner.toFixed(1)} times as soon` : `took ${(1 / sooner).toFixed(1)} times as long`;
  const words = isSame
    ? `Both say the same; the drafted answer ${pace}.`
    : `The answers differ: rounding decides where two words are all but equally likely. The drafted one ${pace}.`;
  return made("p", isSame ? "verdict" : "verdict parted", words);
}

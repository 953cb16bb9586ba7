// The conversation: what was said so far, what is to be sent, and what runs.

import { run } from "./answer.js";
import { at, follow, followFromHere, grow, speak } from "./screen.js";
import { filesOf, imageOf, served } from "./stream.js";
import { AnswerView, button, closeTip, copy, counted, made, question, thumbnail, verdict } from "./view.js";

const PLAIN = "none"; // the drafter that proposes nothing
// `running` stops what runs; it is also how an answer knows that its conversation was left. Where several replicas
// answer, one of them keeps what it read of the conversation: `session` leads back to it. A turn of the user has the
// `elements` that were drawn of it.
const state = { model: null, turns: [], images: [], running: null, session: Math.random() };

// ---- the server

const keyOf = () => at("key").value.trim();

async function begin() {
  try {
    state.model = await served(keyOf());
  } catch (error) {
    refuse(error, true);
    return false;
  }
  const own = state.model.seeahead;
  at("served").textContent = `${state.model.id} · ${own.dtype} on ${own.device}`;
  at("served").title = at("served").textContent;
  const chosen = at("drafter").value; // another key changes nothing about what was chosen
  at("drafter").replaceChildren(...own.drafters.map((name) => new Option(name)));
  at("drafter").value = own.drafters.includes(chosen) ? chosen : own.default_drafter;
  at("drafter").disabled = false;
  at("most").max = own.max_new_tokens ?? own.max_length;
  at("most").value = usualMost(Number(at("most").value));
  at("rounding").hidden = own.dtype === "float32";
  at("choose").hidden = !own.takes_images;
  allow();
  settled();
  return true;
}

/** So many tokens as are wanted, or the usual number; as far as the server allows them. */
function usualMost(wanted) {
  return Math.min(wanted >= 1 ? Math.floor(wanted) : 256, at("most").max);
}

/** One sentence about what went wrong; nothing that was typed is lost. */
function refuse(error, canRetry = false) {
  at("problem").textContent = error.message;
  at("retry").hidden = !canRetry || Boolean(error.needsKey);
  if (error.needsKey) askForKey();
}

function settled() {
  at("problem").textContent = "";
  at("retry").hidden = true;
}

function askForKey() {
  for (const element of [at("key"), at("about-key"), document.querySelector("label[for=key]")]) element.hidden = false;
  at("settings").open = true;
  at("key").focus();
}

/** The first answer of a server may have failed, or it was started anew with another model or other drafters. */
async function beginAgain() {
  at("retry").disabled = true;
  const isThere = await begin();
  at("retry").disabled = false;
  if (![document.body, at("retry")].includes(document.activeElement)) return; // the reader is elsewhere by now
  (isThere ? at("question") : at("retry")).focus({ preventScroll: true });
}

/** There is nothing to lay beside the model alone. */
function allow() {
  at("both").disabled = at("drafter").value === PLAIN;
  at("orders").hidden = at("both").disabled || !at("both").checked;
}

// ---- an answer

/** What is asked of the server, as the settings are now. */
function asked() {
  const seed = at("seed").value;
  return {
    model: state.model.id,
    messages: state.turns.map(({ role, content }) => ({ role, content })),
    max_tokens: usualMost(Number(at("most").value)),
    temperature: Number(at("temperature").value) || 0,
    ...(seed === "" ? {} : { seed: Math.trunc(Number(seed)) }),
  };
}

// ---- a turn of the model

async function reply() {
  const turn = made("li", "turn");
  const answers = made("div", "answers");
  turn.append(answers);
  at("turns").append(turn);
  state.turns.at(-1).elements.push(turn);
  const drafter = at("drafter").value;
  const isBoth = at("both").checked && drafter !== PLAIN;
  const isTogether = isBoth && at("order").value === "together";
  const body = asked();
  // Two answers are compared, so both draw the same random numbers.
  if (isBoth) body.seed ??= Math.floor(Math.random() * 2 ** 31);
  const stopper = new AbortController();
  state.running = stopper;
  busy(true);
  const start = (name) => {
    const view = new AnswerView(name === PLAIN ? "The model alone" : `Drafted by ${name}`);
    answers.append(view.element);
    follow();
    const request = { ...body, speculative: { drafter: name, details: true } };
    const how = { key: keyOf(), session: state.session, signal: stopper.signal };
    return run(view, request, how).then((said) => ({ view, said }));
  };
  const first = start(drafter);
  if (isBoth && !isTogether) await first;
  const goesOn = isBoth && (isTogether || (await first).said.isWhole);
  const done = await Promise.all(goesOn ? [first, start(PLAIN)] : [first]);
  const failed = done.map(({ said }) => said.error).find(Boolean);
  // Another model or other drafters are served by now: the page asks for these from here on.
  const isOther = failed?.code === "model_not_found" || failed?.param === "speculative";
  if (isOther && state.running === stopper) await begin();
  if (state.running !== stopper) return; // a new conversation has begun
  state.running = null;
  busy(false);
  finish(turn, done, { isTogether, isSampled: body.temperature > 0 });
}

/** What may be done with an answer that has ended, and what is said of it. */
function finish(turn, done, how) {
  const [{ view, said }, plain] = done;
  for (const one of done) {
    if (one.said.text) one.view.action("Copy", (pressed) => copy(one.said.text, pressed));
  }
  const isCompared = plain && done.every((one) => one.said.isWhole && one.said.first !== null);
  const told = isCompared ? verdict(said, plain.said, how) : null;
  if (told) turn.append(told);
  // An answer that failed is no turn of the conversation: it is asked for again, or the next question joins this one.
  const isTurn = Boolean(said.text) && !said.error;
  if (isTurn) state.turns.push({ role: "assistant", content: said.text });
  view.action("Try again", () => again(turn, isTurn)).classList.add("again");
  view.action("Edit the question", () => edit(turn, isTurn)).classList.add("again");
  follow();
  // What the server refuses would be refused again with the next question, and who stops a question asks another one.
  const isEmpty = done.every((one) => !one.said.text);
  const isRefused = isEmpty && said.error?.isRefused;
  if (isEmpty && (isRefused || said.isStopped)) takeBack();
  if (isRefused) refuse(said.error); // which is spoken as well
  else speak([said.text, ...done.map((one) => one.view.state.textContent), told?.textContent]);
  if (said.error?.needsKey || plain?.said.error?.needsKey) askForKey();
}

/** The last question goes back to where it was typed and chosen. */
function takeBack() {
  const { content, images, elements } = state.turns.pop();
  const texts = content.filter((part) => part.type === "text").map(({ text }) => text);
  at("question").value = [...texts, at("question").value].filter(Boolean).join("\n");
  state.images.unshift(...images);
  closeTip();
  for (const element of elements) element.remove();
  at("empty").hidden = state.turns.length > 0;
  showImages();
  grow();
}

/** Whether the turn may be done again: it is the last one, and nothing else is under way. What it said is forgotten. */
function forgets(turn, wasTurn) {
  if (state.running || isSending || turn !== at("turns").lastElementChild) return false;
  if (wasTurn) state.turns.pop();
  closeTip();
  turn.remove();
  speak([]);
  settled();
  return true;
}

function again(turn, wasTurn) {
  if (!forgets(turn, wasTurn)) return;
  followFromHere();
  reply();
}

function edit(turn, wasTurn) {
  if (!forgets(turn, wasTurn)) return;
  takeBack();
  at("question").focus();
}

function busy(isBusy) {
  const hadFocus = (isBusy ? [at("send"), document.body] : [at("stop")]).includes(document.activeElement);
  at("send").hidden = isBusy;
  at("stop").hidden = !isBusy;
  if (!hadFocus) return; // it is where the reader wants it
  // The button that was pressed is gone. In the text focus would open a keyboard over the answer, where there is no other.
  const place = matchMedia("(pointer: coarse)").matches ? at(isBusy ? "stop" : "send") : at("question");
  place.focus({ preventScroll: true });
}

// ---- a turn of the user

let adding = Promise.resolve(true); // images that are still read and decoded, one after the other: whether all were
let numAdding = 0;
let isSending = false; // a second Enter while the server is asked what it serves, or images are read
async function send() {
  if (state.running || isSending) return;
  isSending = true;
  const isWaiting = numAdding > 0;
  const isWhole = (await adding) || !isWaiting; // else what was wrong is said, and the reader decides
  const isReady = isWhole && isAnythingTyped() && (state.model || (await begin()));
  isSending = false;
  if (!isReady || !isAnythingTyped()) return;
  settled();
  const text = at("question").value.trim();
  const parts = state.images.map(({ url }) => ({ type: "image_url", image_url: { url } }));
  // A question whose answer failed is asked together with the next one.
  const before = state.turns.at(-1)?.role === "user" ? state.turns.pop() : { content: [], images: [], elements: [] };
  const content = [...before.content, ...parts, ...(text ? [{ type: "text", text }] : [])];
  const drawn = question(text, state.images);
  const elements = [...before.elements, drawn];
  state.turns.push({ role: "user", content, images: [...before.images, ...state.images], elements });
  at("empty").hidden = true;
  speak([]);
  at("turns").append(drawn);
  state.images = [];
  showImages();
  at("question").value = "";
  grow();
  followFromHere();
  await reply();
}

const isAnythingTyped = () => Boolean(at("question").value.trim() || state.images.length);

function add(files) {
  const before = numAdding ? adding : Promise.resolve(true);
  if (!numAdding) settled();
  numAdding += 1;
  adding = before.then(async (wasWhole) => (await addNow(files)) && wasWhole).catch(() => false).finally(() => (numAdding -= 1));
  return adding;
}

async function addNow(files) {
  const problems = [];
  const most = state.model?.seeahead.max_images ?? 8;
  if (state.model && !state.model.seeahead.takes_images) {
    refuse(new Error("This model reads no images."));
    return false;
  }
  const numSent = state.turns.reduce((sum, { images }) => sum + (images?.length ?? 0), 0); // each question sends all
  for (const file of files) {
    if (numSent + state.images.length >= most) {
      problems.push(`A conversation can have at most ${counted(most, "image")}.`);
      break;
    }
    await imageOf(file).then((image) => state.images.push(image), (error) => problems.push(error.message));
    showImages();
  }
  if (problems.length) refuse(new Error(problems.join(" ")));
  speakOfImages();
  at("question").focus();
  return !problems.length;
}

function showImages() {
  const items = state.images.map((image, number) => {
    const item = made("li");
    const remove = button("", "×", () => {
      state.images.splice(number, 1);
      showImages();
      speakOfImages();
      // The button is gone: focus goes to the one that took its place, or back to the text.
      (at("images").children[number]?.lastElementChild ?? at("question")).focus();
    });
    remove.setAttribute("aria-label", `Remove ${image.name || `image ${number + 1}`}`);
    item.append(thumbnail(image), remove);
    return item;
  });
  at("images").replaceChildren(...items);
}

const speakOfImages = () => speak([`${counted(state.images.length, "image")} to send`]);

function anew() {
  const stopper = state.running;
  state.running = null;
  stopper?.abort();
  busy(false);
  state.turns = [];
  state.session = Math.random();
  closeTip();
  at("turns").replaceChildren();
  at("empty").hidden = false;
  speak([]);
  settled();
  at("question").focus();
}

// ---- what the reader does

const hasFiles = (event) => Boolean(event.dataTransfer?.types.includes("Files"));

/** Escape closes what lies on top; where nothing does, it stops the answer. */
function escape() {
  if (closeTip()) return;
  if (at("settings").open) {
    at("settings").open = false;
    at("settings").querySelector("summary").focus();
    return;
  }
  state.running?.abort();
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
at("options").addEventListener("submit", (event) => event.preventDefault());
at("question").addEventListener("input", grow);
at("question").addEventListener("keydown", (event) => {
  // Safari ends the composition before it tells of the Enter that did, whose code is then 229.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
  event.preventDefault();
  send();
});
addEventListener("keydown", (event) => event.key === "Escape" && !event.isComposing && escape());
at("stop").addEventListener("click", () => state.running?.abort());
at("anew").addEventListener("click", anew);
at("retry").addEventListener("click", beginAgain);
at("drafter").addEventListener("change", allow);
at("both").addEventListener("change", allow);
at("choose").addEventListener("click", () => at("files").click());
at("files").addEventListener("change", async () => {
  await add(filesOf(at("files")));
  at("files").value = ""; // the same file may be chosen again
});
at("key").addEventListener("change", begin);
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => {
    at("question").value = example.textContent;
    grow();
    at("question").focus();
  });
}
addEventListener("paste", (event) => {
  if (!filesOf(event.clipboardData).length) return; // a text goes where the cursor is
  // Offices put a picture of the cells or paragraphs beside their text.
  const kinds = event.clipboardData.types;
  if (kinds.includes("text/plain") && (kinds.includes("text/html") || kinds.includes("text/rtf"))) return;
  event.preventDefault();
  add(filesOf(event.clipboardData));
});
addEventListener("dragover", (event) => {
  if (!hasFiles(event)) return; // a text that is dragged is not ours
  event.preventDefault();
  at("drop").hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("drop").hidden = true;
});
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  at("drop").hidden = true;
  add(filesOf(event.dataTransfer));
});
document.addEventListener("click", (event) => {
  if (!at("settings").contains(event.target)) at("settings").open = false;
});
at("settings").addEventListener("focusout", (event) => {
  if (event.relatedTarget && !at("settings").contains(event.relatedTarget)) at("settings").open = false;
});
addEventListener("resize", grow);
addEventListener("beforeunload", (event) => {
  // Nothing of it is kept. A reader who has touched nothing is not asked: browsers complain of that.
  if (state.turns.length && navigator.userActivation?.hasBeenActive !== false) event.preventDefault();
});

begin();
at("question").focus();

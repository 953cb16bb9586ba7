// The conversation: what was said so far, what is to be sent, and what runs.

import { answer, imageOf, served } from "/page/stream.js";
import { AnswerView, picture, question, verdict } from "/page/view.js";

const at = (id) => document.getElementById(id);
const state = { model: null, turns: [], images: [], running: null };

async function begin() {
  try {
    state.model = await served(at("key").value);
  } catch (error) {
    return refuse(error);
  }
  const own = state.model.seeahead;
  at("served").textContent = `${state.model.id} · ${own.dtype} on ${own.device}`;
  at("drafter").replaceChildren(...own.drafters.map((name) => new Option(name === "none" ? "none (the model alone)" : name, name)));
  at("drafter").value = own.default_drafter;
  at("most").max = own.max_new_tokens;
  at("most").value = Math.min(256, own.max_new_tokens);
  at("choose").hidden = !own.takes_images;
  at("problem").textContent = "";
  return state.model;
}

/** One sentence about what went wrong; nothing that was typed is lost. */
function refuse(error) {
  at("problem").textContent = error.message;
  if (!error.needsKey) return null;
  for (const element of [at("key"), document.querySelector("label[for=key]")]) element.hidden = false;
  at("settings").open = true;
  at("key").focus();
  return null;
}

const body = (drafter) => {
  const seed = at("seed").value;
  return {
    model: state.model.id,
    messages: state.turns.map(({ role, content }) => ({ role, content })),
    max_tokens: Number(at("most").value) || 256,
    temperature: Number(at("temperature").value) || 0,
    ...(seed === "" ? {} : { seed: Number(seed) }),
    speculative: { drafter, details: true },
  };
};

/** Run one answer into its view; what it said, or null where it failed. */
async function run(view, drafter, signal, seed) {
  const said = { text: "", tokens: 0, drafted: 0, steps: new Set(), seconds: 0, first: null };
  const asked = body(drafter);
  if (seed !== undefined) asked.seed = seed;
  const started = performance.now();
  try {
    for await (const chunk of answer(asked, at("key").value, signal)) {
      const told = chunk.seeahead;
      said.seconds = (performance.now() - started) / 1000;
      if (told) {
        said.first ??= said.seconds;
        count(said, told, chunk.choices[0].delta.content ?? "");
        view.add(told.tokens, told.refused ?? []);
      }
      view.show(figures(said, said.first, chunk.metrics));
      follow();
    }
  } catch (error) {
    if (error.name !== "AbortError") {
      view.fail(error.message);
      refuse(error);
      view.end();
      return null;
    }
    said.isStopped = true;
  }
  view.legend();
  view.end();
  return said;
}

function count(said, told, text) {
  said.text += text;
  for (const run of told.tokens) {
    said.tokens += run.num_tokens;
    if (run.source !== "target") said.drafted += run.num_tokens;
  }
  if (told.step) said.steps.add(told.step);
}

function figures(said, first, metrics) {
  const after = said.seconds - (first ?? said.seconds);
  const told = metrics?.speculative_decoding;
  return {
    tau: told?.mean_acceptance_length ?? (said.steps.size ? (said.tokens - 1) / said.steps.size : null),
    rate: metrics?.tokens_per_second ?? (after > 0 ? (said.tokens - 1) / after : null),
    first: metrics?.time_to_first_token_seconds ?? first,
    tokens: said.tokens || null,
    drafted: said.drafted ? (100 * said.drafted) / said.tokens : null,
  };
}

/** The page follows the answer unless the reader has scrolled up. */
function follow() {
  const left = document.documentElement.scrollHeight - innerHeight - scrollY;
  if (left < 160) scrollTo(0, document.documentElement.scrollHeight);
}

async function reply() {
  const turn = document.createElement("li");
  turn.className = "turn";
  const answers = document.createElement("div");
  answers.className = "answers";
  turn.append(answers);
  at("turns").append(turn);
  const chosen = at("drafter").value;
  const asksBoth = at("both").checked && chosen !== "none";
  const stopper = new AbortController();
  state.running = stopper;
  busy(true);
  const view = new AnswerView(chosen === "none" ? "The model alone" : `Drafted by ${chosen}`);
  answers.append(view.element);
  follow();
  // Two answers are compared, so both draw the same random numbers.
  const seed = asksBoth && at("seed").value === "" ? Math.floor(Math.random() * 2 ** 31) : undefined;
  const said = await run(view, chosen, stopper.signal, seed);
  if (said && asksBoth && !said.isStopped) await alongside(answers, turn, said, stopper.signal, seed);
  state.running = null;
  busy(false);
  if (said?.text) {
    state.turns.push({ role: "assistant", content: said.text });
    at("spoken").textContent = said.text;
    view.action("Copy", () => navigator.clipboard?.writeText(said.text));
  }
  view.action("Try again", () => again(turn, Boolean(said?.text))).classList.add("again");
  follow();
}

async function alongside(answers, turn, said, signal, seed) {
  const view = new AnswerView("The model alone");
  answers.append(view.element);
  const plain = await run(view, "none", signal, seed);
  if (plain && !plain.isStopped) turn.append(verdict(said, plain));
}

function again(turn, wasSaid) {
  if (state.running || turn !== at("turns").lastElementChild) return;
  if (wasSaid) state.turns.pop();
  turn.remove();
  reply();
}

function busy(isBusy) {
  at("send").hidden = isBusy;
  at("stop").hidden = !isBusy;
  if (!isBusy) at("question").focus({ preventScroll: true });
}

async function send() {
  const text = at("question").value.trim();
  if (state.running || (!text && !state.images.length)) return;
  at("problem").textContent = "";
  if (!state.model && !(await begin())) return;
  const parts = state.images.map(({ url }) => ({ type: "image_url", image_url: { url } }));
  // A question whose answer failed is asked together with the next one.
  const before = state.turns.at(-1)?.role === "user" ? state.turns.pop().content : [];
  state.turns.push({ role: "user", content: [...before, ...parts, ...(text ? [{ type: "text", text }] : [])] });
  at("empty").hidden = true;
  for (const button of document.querySelectorAll(".again")) button.remove();
  at("turns").append(question(text, state.images));
  state.images = [];
  showImages();
  at("question").value = "";
  grow();
  await reply();
}

async function add(files) {
  for (const file of files) {
    const most = state.model?.seeahead.max_images ?? 8;
    if (state.images.length >= most) return refuse(new Error(`At most ${most} images can be sent at once.`));
    try {
      state.images.push(await imageOf(file));
    } catch (error) {
      refuse(error);
    }
  }
  showImages();
  return at("question").focus();
}

function showImages() {
  const items = state.images.map((image, number) => {
    const item = document.createElement("li");
    const remove = document.createElement("button");
    remove.type = "button";
    remove.textContent = "×";
    remove.setAttribute("aria-label", `Remove image ${number + 1}`);
    remove.addEventListener("click", () => {
      state.images.splice(number, 1);
      showImages();
    });
    item.append(picture(image), remove);
    return item;
  });
  at("images").replaceChildren(...items);
}

function grow() {
  const box = at("question");
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
}

function anew() {
  state.running?.abort();
  state.turns = [];
  at("turns").replaceChildren();
  at("empty").hidden = false;
  at("problem").textContent = "";
  at("question").focus();
}

const filesOf = (data) => [...(data?.files ?? [])];

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
at("options").addEventListener("submit", (event) => event.preventDefault());
at("question").addEventListener("input", grow);
at("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
});
addEventListener("keydown", (event) => event.key === "Escape" && state.running?.abort());
at("stop").addEventListener("click", () => state.running?.abort());
at("anew").addEventListener("click", anew);
at("choose").addEventListener("click", () => at("files").click());
at("files").addEventListener("change", async () => {
  await add([...at("files").files]);
  at("files").value = "";
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
  if (filesOf(event.clipboardData).length) add(filesOf(event.clipboardData));
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  at("drop").hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("drop").hidden = true;
});
addEventListener("drop", (event) => {
  event.preventDefault();
  at("drop").hidden = true;
  add(filesOf(event.dataTransfer));
});
document.addEventListener("click", (event) => {
  if (!at("settings").contains(event.target)) at("settings").open = false;
});

begin();
at("question").focus();

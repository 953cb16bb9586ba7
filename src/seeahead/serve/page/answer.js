// One answer: from the server's chunks into its view, with what is counted meanwhile.

import { follow } from "./screen.js";
import { answer } from "./stream.js";
import { counted } from "./view.js";

/** Run one answer into its view; what it said, with `error` where it failed. */
export async function run(view, request, { key, session, signal }) {
  const said = { text: "", tokens: 0, drafted: 0, steps: new Set(), seconds: 0, first: null, isWhole: false, isStopped: false, error: null };
  const started = performance.now();
  let metrics = null;
  try {
    for await (const chunk of answer(request, key, session, signal)) {
      const choice = chunk.choices[0];
      if (chunk.seeahead) {
        said.seconds = (performance.now() - started) / 1000;
        said.first ??= said.seconds;
        count(said, chunk.seeahead, choice?.delta.content ?? "");
        view.add(chunk.seeahead.tokens, chunk.seeahead.refused ?? []);
      }
      if (choice?.finish_reason === "length") view.say(`Cut after ${counted(said.tokens, "token")}: the settings or the model allow no more.`);
      metrics = chunk.metrics ?? metrics;
      view.show(figures(said, metrics));
      follow();
    }
    said.isWhole = true;
  } catch (error) {
    said.isStopped = error.name === "AbortError";
    if (said.isStopped) view.say("Stopped.");
    else {
      said.error = error;
      view.say(error.message, true);
    }
  }
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

/** Counted here while the answer grows; the server's own at its end. */
function figures(said, metrics) {
  const after = said.seconds - (said.first ?? said.seconds);
  return {
    tau: metrics?.speculative_decoding?.mean_acceptance_length ?? (said.steps.size ? (said.tokens - 1) / said.steps.size : null),
    rate: metrics?.tokens_per_second ?? (after > 0 ? (said.tokens - 1) / after : null),
    first: metrics?.time_to_first_token_seconds ?? said.first,
    tokens: said.tokens || null,
    drafted: said.drafted ? (100 * said.drafted) / said.tokens : null,
  };
}

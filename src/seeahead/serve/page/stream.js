// What the page asks the server, and how images become parts of a question.

const MOST_SIDE = 1600; // pixels; no model here reads more, and a photo of a phone is several megabytes

/** The served model; throws an Error whose message is one sentence. */
export async function served(key) {
  const reply = await asked("/v1/models", { headers: headers(key) });
  return (await reply.json()).data[0];
}

/** The chunks of an answer, one after the other. */
export async function* answer(body, key, signal) {
  const reply = await asked("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", ...headers(key) },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("The server broke off before the answer was whole. Try again.");
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      if (!event.startsWith("data: ")) continue; // a sign of life
      const data = event.slice(6);
      if (data === "[DONE]") return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(sentence(chunk.error.message));
      yield chunk;
    }
  }
}

const headers = (key) => (key ? { Authorization: `Bearer ${key}` } : {});

async function asked(path, how) {
  let reply;
  try {
    reply = await fetch(path, how);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it running?");
  }
  if (reply.ok) return reply;
  const told = await reply.json().catch(() => null);
  const error = new Error(sentence(told?.error?.message ?? `the server answered ${reply.status}`));
  error.needsKey = reply.status === 401;
  throw error;
}

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1) + (/[.?!]$/.test(words) ? "" : ".");

/** A file as a data: URI, made smaller where it is large; throws for what is no image. */
export async function imageOf(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) throw new Error(`${file.name || "What was pasted"} is not an image that this browser reads.`);
  const scale = Math.min(1, MOST_SIDE / Math.max(bitmap.width, bitmap.height));
  if (scale === 1 && /^image\/(png|jpeg|webp|gif)$/.test(file.type)) return { name: file.name, url: await dataUri(file) };
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return { name: file.name, url: canvas.toDataURL("image/png") };
}

const dataUri = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read.`));
    reader.readAsDataURL(file);
  });

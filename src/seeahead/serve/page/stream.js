// What the page asks the server, and how images become parts of a question.

// Of an image: each question of a conversation sends all of its images, and models read them by their pixels.
const MOST_PIXELS = 4e6;
const MOST_BYTES = 4e6;
const AWAY = "The server cannot be reached. Is it running?";
const CLOSED = "The server cannot be reached, or the connection was closed while the question was sent.";
const BROKEN = "The server broke off before the answer was whole.";
// It says something every 15 seconds, and be it that it is alive.
const MOST_SILENT_MS = 60_000;
const SILENT = "Nothing has come from the server for a minute; the connection seems to be lost.";
// Of proxies, which answer in their own words; the same question would be refused again.
const REFUSED = new Map([
  ...[400, 415, 422].map((status) => [status, `the question was refused with status ${status}`]),
  [413, "the question and its images are too large for the server, or for a proxy before it"],
]);

/** The served model; throws an Error whose message is one sentence. */
export async function served(key) {
  const reply = await asked("v1/models", { headers: headers(key) });
  const model = (await reply.json().catch(() => null))?.data?.[0];
  if (!model?.seeahead) throw new Error("What answers here is not a server of seeahead.");
  return model;
}

/** The chunks of an answer, one after the other. */
export async function* answer(body, key, session, signal) {
  const reply = await asked("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Session-Id": session, ...headers(key) },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    yield* chunks(reader);
  } finally {
    reader.cancel().catch(() => {}); // an answer that is not read to its end is not computed to its end
  }
}

async function* chunks(reader) {
  let held = "";
  for (;;) {
    const { done, value } = await soon(reader.read()).catch(brokenOff);
    if (done) throw new Error(BROKEN);
    held += value;
    const events = held.split("\n\n");
    held = events.pop(); // the beginning of an event whose end has not come
    for (const event of events) {
      if (!event.startsWith("data: ")) continue; // a sign of life
      const data = event.slice(6);
      if (data === "[DONE]") return;
      const chunk = parsed(data);
      if (chunk.error) throw refusal(chunk.error, "the server failed");
      yield chunk;
    }
  }
}

/** A connection that is lost without a word would be waited for for ever. */
function soon(read) {
  let timer;
  const late = new Promise((_, reject) => {
    const give = () => reject(new Silent(SILENT));
    // A page that was frozen meanwhile is given what has come before it is told that nothing has.
    timer = setTimeout(() => (timer = setTimeout(give, 1000)), MOST_SILENT_MS);
  });
  return Promise.race([read, late]).finally(() => clearTimeout(timer));
}

class Silent extends Error {}

/** Browsers have words of their own for a lost connection, which say nothing to a reader. */
function brokenOff(error) {
  throw error.name === "AbortError" || error instanceof Silent ? error : new Error(BROKEN);
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    throw new Error(BROKEN);
  }
}

function headers(key) {
  if (!/^[!-~]*$/.test(key)) throw unknownKey({ Authorization: key }); // which no header can carry
  return key ? { Authorization: `Bearer ${key}` } : {};
}

async function asked(path, how) {
  let reply;
  try {
    reply = await fetch(path, how);
  } catch (error) {
    throw error.name === "AbortError" ? error : new Error(how.method === "POST" ? CLOSED : AWAY);
  }
  if (reply.ok) return reply;
  if (reply.status === 401) throw unknownKey(how.headers);
  const told = await reply.json().catch(() => null);
  const error = refusal(told?.error, REFUSED.get(reply.status) ?? `the server answered ${reply.status}`, waitOf(reply));
  error.isRefused ||= !told?.error && REFUSED.has(reply.status);
  throw error;
}

/** An Error with the server's sentence; `isRefused` where the same question would be refused again. */
function refusal(told, otherwise, more = "") {
  const error = new Error(sentence(told?.message ?? otherwise) + more);
  error.isRefused = told?.type === "invalid_request_error";
  return Object.assign(error, { code: told?.code, param: told?.param });
}

/** The server's sentence names the header, which is nothing that a reader of the page can set. */
function unknownKey(sent) {
  const error = new Error(
    sent.Authorization ? "This is not an API key of the server. Enter another one in the settings." : "This server asks for an API key. Enter it in the settings.",
  );
  error.needsKey = true;
  return error;
}

function waitOf(reply) {
  const seconds = Math.ceil(Number(reply.headers.get("Retry-After")));
  if (![429, 503].includes(reply.status) || !(seconds > 0)) return "";
  return ` It may be asked again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.`;
}

const sentence = (words) => words.charAt(0).toUpperCase() + words.slice(1) + (/[.?!]$/.test(words) ? "" : ".");

/** The files of what was pasted, dropped or chosen. */
export const filesOf = (data) => [...(data?.files ?? [])];

/** A file as a data: URI, made smaller where it is large; throws for what is no image. */
export async function imageOf(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  if (!bitmap) throw new Error(`${file.name || "What was pasted"} is not an image that this browser reads; as a JPEG or PNG it may be.`);
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height)));
  const isPlain = scale === 1 && file.size <= MOST_BYTES && /^image\/(png|jpeg|webp|gif)$/.test(file.type);
  const url = isPlain ? await dataUri(file) : redrawn(bitmap, scale, file.type);
  const [width, height] = [bitmap.width, bitmap.height];
  bitmap.close();
  const smaller = `, made smaller: ${Math.round(width * scale)} × ${Math.round(height * scale)} of ${width} × ${height} pixels`;
  return { name: file.name, url, note: scale < 1 ? smaller : "" };
}

function redrawn(bitmap, scale, type) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  // A photo becomes a JPEG, which is a tenth of its PNG; what may be transparent or drawn stays a PNG.
  const png = type === "image/jpeg" ? "" : canvas.toDataURL("image/png");
  if (png && png.length <= MOST_BYTES) return png;
  context.globalCompositeOperation = "destination-over"; // white below what is transparent
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}

const dataUri = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${file.name || "The image"} cannot be read.`));
    reader.readAsDataURL(file);
  });

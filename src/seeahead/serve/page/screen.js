// What all parts of the page share: its elements, where it is scrolled to, and what a screen reader is told.

export const at = (id) => document.getElementById(id);
const whole = document.documentElement;

// The page follows the answer until the reader scrolls up, and again from its end on.
let isFollowing = true;
let last = place();
function place() {
  const most = whole.scrollHeight - innerHeight;
  return { top: Math.min(scrollY, most), most }; // some browsers scroll beyond the end and back
}
addEventListener("scroll", () => {
  const now = place();
  // A page that became shorter, or a window that became taller, moves by itself.
  if (isFollowing) isFollowing = now.top >= last.top || now.most < last.most;
  else isFollowing = now.top > last.top && now.most - now.top < 80;
  last = now;
}, { passive: true });

export function follow() {
  if (isFollowing && !document.querySelector(".tip")) scrollTo(0, whole.scrollHeight);
}

export function followFromHere() {
  isFollowing = true;
}

// What is focused is not under the form, which grows by lines and images.
new ResizeObserver(() => whole.style.setProperty("--form", `${at("form").offsetHeight}px`)).observe(at("form"));

/** The box of the question is as high as its text. */
export function grow() {
  if (CSS.supports("field-sizing", "content")) return;
  const box = at("question");
  const top = scrollY; // a page that is shorter for a moment is scrolled
  box.style.height = "auto";
  box.style.height = `${box.scrollHeight}px`;
  scrollTo(0, top);
}

const SPOKEN_MS = 10_000; // a screen reader has heard it; who reads on meets it no second time
let silence;

/** A screen reader is told once: of an answer when it is finished, and of what was pressed. */
export function speak(words) {
  clearTimeout(silence);
  at("spoken").textContent = words.filter(Boolean).join("\n");
  silence = setTimeout(() => (at("spoken").textContent = ""), SPOKEN_MS);
}

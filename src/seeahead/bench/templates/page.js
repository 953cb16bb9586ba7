// Where a link leads is shown, also where it is folded.
const reveal = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folds = target ? document.querySelectorAll("details") : [];
  for (const fold of folds) fold.open = fold.open || (fold.contains(target) && fold.querySelector("summary") !== target);
  target?.scrollIntoView();
};
addEventListener("hashchange", reveal);
if (location.hash) reveal();

// Paper shows what is folded; answers of all methods are too many for it.
let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details.fold:not([open])")];
  opened.forEach((fold) => { fold.open = true; });
});
addEventListener("afterprint", () => opened.forEach((fold) => { fold.open = false; }));

// Tables that are wider than their place say so.
const measure = () => document.querySelectorAll(".scroll").forEach((region) => {
  region.classList.toggle("wider", region.scrollWidth > region.clientWidth + 1);
});
addEventListener("resize", measure);
document.addEventListener("toggle", measure, true);
measure();

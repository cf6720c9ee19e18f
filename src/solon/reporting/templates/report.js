// Filters the samples; the page is complete without it.
(() => {
  "use strict";
  // A link to something folded opens what it is in.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let part = target; part; part = part.parentElement) {
      part.hidden = false;
      if (part.tagName === "DETAILS") part.open = true;
    }
    target.querySelector("details.reach")?.setAttribute("open", "");
    requestAnimationFrame(() => target.scrollIntoView());
  };
  addEventListener("hashchange", reveal);
  addEventListener("load", reveal);
  const form = document.getElementById("filters");
  if (!form) return;
  const samples = [...document.querySelectorAll("details.sample")].map((element) => ({
    element,
    kind: element.dataset.kind,
    outcomes: element.dataset.outcomes.split(" "),
    labels: element.dataset.labels.split(" "),
    // Addresses and seeds of the trace would match too many words.
    text: [...element.children].filter((part) => !part.classList.contains("trace"))
      .map((part) => part.textContent).join(" ").toLowerCase(),
  }));
  const shelves = [...document.querySelectorAll(".shelf")];
  const count = document.getElementById("shown");

  const apply = () => {
    const { kind, outcome, label, text } = Object.fromEntries(new FormData(form));
    const words = text.trim().toLowerCase();
    let shown = 0;
    for (const sample of samples) {
      const fits =
        (!kind || sample.kind === kind) &&
        (!outcome || sample.outcomes.includes(outcome)) &&
        (!label || sample.labels.includes(label)) &&
        (!words || sample.text.includes(words));
      sample.element.hidden = !fits;
      shown += fits;
    }
    const narrowed = kind || outcome || label || words;
    if (narrowed) for (const rest of document.querySelectorAll("details.rest")) rest.open = true;
    for (const shelf of shelves) shelf.hidden = !shelf.querySelector("details.sample:not([hidden])");
    count.textContent = `${shown} of ${samples.length}`;
  };

  form.addEventListener("input", apply);
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("open-all").addEventListener("click", () => {
    const visible = samples.filter((sample) => !sample.element.hidden);
    const open = !visible.every((sample) => sample.element.open);
    for (const sample of visible) sample.element.open = open;
  });
  form.hidden = false;
  apply();
})();

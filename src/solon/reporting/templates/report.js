// Filters the samples; the page is complete without it.
(() => {
  "use strict";
  const form = document.getElementById("filters");
  if (!form) return;
  const samples = [...document.querySelectorAll("details.sample")].map((element) => ({
    element,
    kind: element.dataset.kind,
    outcomes: element.dataset.outcomes.split(" "),
    labels: element.dataset.labels.split(" "),
    text: element.textContent.toLowerCase(),
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

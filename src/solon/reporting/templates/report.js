// Shows the samples a page at a time, and filters them. A text is only ever inserted as HTML that the report's own
// template made and escaped; scripts in it do not run, and the policy of the page forbids them too.
(() => {
  "use strict";
  const index = JSON.parse(document.getElementById("sample-index").textContent);
  const form = document.getElementById("filters");
  const hash = () => decodeURIComponent(location.hash.slice(1));
  // A link to something folded opens what it is in; one to a sample that is not shown shows it first.
  const opened = () => {
    const target = document.getElementById(hash());
    if (!target) return false;
    for (let part = target; part; part = part.parentElement) {
      part.hidden = false;
      if (part.tagName === "DETAILS") part.open = true;
    }
    target.querySelector("details.reach")?.setAttribute("open", "");
    requestAnimationFrame(() => target.scrollIntoView());
    return true;
  };
  const reveal = async () => {
    if (opened() || !form) return;
    const number = index.anchors.indexOf(hash());
    if (number < 0) return;
    form.elements.kind.value = index.kinds[index.samples[number][0]];
    options();
    for (const name of [...NAMES, "text"]) form.elements[name].value = "";
    await apply(number);
    opened();
  };
  addEventListener("hashchange", reveal);
  addEventListener("load", reveal);
  addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    if (link && link.hash === location.hash) reveal();
  });
  if (!form) return;
  const PAGE = 20;
  const NAMES = ["principles", "outcomes", "labels"];
  const list = document.getElementById("sample-list");
  const shown = document.getElementById("shown");
  const loaded = new Map();
  const waiting = new Map();
  let found = [], first = 0, asked = 0;

  globalThis.solonSamples = (key, number, texts) => waiting.get(number)?.(key, texts);

  const fetched = (number) => new Promise((resolve, reject) => {
    const inline = document.getElementById(`chunk-${number}`);
    if (inline) return resolve(JSON.parse(inline.textContent));
    const name = `${index.folder}/chunk-${number}.js`;
    const script = document.createElement("script");
    waiting.set(number, (key, texts) =>
      key === index.key ? resolve(texts) : reject(`${name} belongs to another report; write the report again`));
    script.onerror = () => reject(`${name} is missing; keep the folder beside the page`);
    script.src = name;
    document.head.append(script);
  });
  const chunk = (number) => {
    if (!loaded.has(number)) loaded.set(number, fetched(number));
    return loaded.get(number);
  };
  const element = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content;
  };
  const sample = async (number) => element((await chunk(Math.floor(number / index.per)))[number % index.per]);

  const show = async () => {
    const turn = ++asked;
    const numbers = found.slice(first, first + PAGE);
    try {
      const parts = await Promise.all(numbers.map(sample));
      if (turn !== asked) return;
      list.replaceChildren(...parts);
      if (first === 0 && list.firstElementChild) list.firstElementChild.open = true;
      shown.textContent = found.length
        ? `${(first + 1).toLocaleString("en")}\u2013${(first + numbers.length).toLocaleString("en")} of ${found.length.toLocaleString("en")}`
        : "no sample fits";
    } catch (why) {
      list.replaceChildren();
      shown.textContent = String(why);
    }
    document.getElementById("before").disabled = first === 0;
    document.getElementById("next").disabled = first + PAGE >= found.length;
  };

  const withWords = async (numbers, words, turn) => {
    const kept = [];
    for (const number of numbers) {
      if (turn !== asked) return null;
      if (number % index.per === 0) shown.textContent = `searching ${number.toLocaleString("en")} \u2026`;
      const part = await sample(number);
      // Addresses and seeds of the trace would match too many words.
      part.querySelector(".trace")?.remove();
      if (part.textContent.toLowerCase().includes(words)) kept.push(number);
    }
    return kept;
  };

  // Shows what the filters let through, from its start or from the page with sample `at`.
  const apply = async (at) => {
    const turn = ++asked;
    const wanted = Object.fromEntries(new FormData(form));
    const kind = index.kinds.indexOf(wanted.kind);
    const places = NAMES.map((name) => (wanted[name] ? index[name].indexOf(wanted[name]) : -1));
    for (const shelf of document.querySelectorAll(".shelf")) shelf.hidden = shelf.dataset.kind !== wanted.kind;
    let numbers = [];
    index.samples.forEach((line, number) => {
      if (line[0] === kind && places.every((place, at) => place < 0 || line[at + 1].includes(place))) numbers.push(number);
    });
    const words = wanted.text.trim().toLowerCase();
    try {
      if (words) numbers = await withWords(numbers, words, turn);
    } catch (why) {
      shown.textContent = String(why);
      return;
    }
    if (numbers === null || turn !== asked) return;
    found = numbers;
    first = at === undefined ? 0 : Math.floor(found.indexOf(at) / PAGE) * PAGE;
    await show();
  };

  const options = () => {
    const kind = index.kinds.indexOf(form.elements.kind.value);
    NAMES.forEach((name, at) => {
      const counts = new Map();
      for (const line of index.samples) {
        if (line[0] === kind) for (const place of line[at + 1]) counts.set(place, (counts.get(place) ?? 0) + 1);
      }
      const select = form.elements[name];
      const before = select.value;
      select.length = 1;
      for (const [place, count] of [...counts].sort(([a], [b]) => a - b)) {
        select.add(new Option(`${index[name][place]} (${count.toLocaleString("en")})`, index[name][place]));
      }
      select.value = [...select.options].some((option) => option.value === before) ? before : "";
      select.parentElement.hidden = select.length === 1;
    });
  };

  form.addEventListener("input", (event) => {
    if (event.target.name === "kind") options();
    apply();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("clear").addEventListener("click", () => {
    for (const name of [...NAMES, "text"]) form.elements[name].value = "";
    apply();
  });
  const turn = (by) => () => {
    first = Math.max(0, first + by);
    show().then(() => document.getElementById("samples").scrollIntoView());
  };
  document.getElementById("before").addEventListener("click", turn(-PAGE));
  document.getElementById("next").addEventListener("click", turn(PAGE));
  document.getElementById("open-all").addEventListener("click", () => {
    const open = ![...list.children].every((each) => each.open);
    for (const each of list.children) each.open = open;
  });
  for (const button of document.querySelectorAll(".to-samples")) {
    button.hidden = !index.principles.includes(button.dataset.principle);
    button.addEventListener("click", () => {
      form.elements.kind.value = button.dataset.kind;
      options();
      form.elements.principles.value = button.dataset.principle;
      apply();
      document.getElementById("samples").scrollIntoView();
    });
  }
  form.hidden = document.getElementById("pager").hidden = false;
  options();
  apply();
})();

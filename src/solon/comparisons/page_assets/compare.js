// Keys, and waiting for replies; the page is complete without it.
(() => {
  "use strict";
  const now = document.getElementById("now");
  if (!now) return;
  const { step, number } = now.dataset;
  const place = location.pathname;
  // What comes next is in view, below a conversation of any length.
  if (now.getBoundingClientRect().bottom > innerHeight) now.scrollIntoView();

  // While the models write, ask now and then, and load the page when the step has changed.
  if (step === "wait") {
    let pause = 400;
    const look = async () => {
      try {
        const answer = await fetch(`${place}/state`, { cache: "no-store" });
        const found = answer.ok ? await answer.json() : { step: "" };
        if (found.step !== step || String(found.number) !== number) return location.reload();
      } catch {
        // The server is away for a moment; ask again.
      }
      pause = Math.min(pause * 1.3, 4000);
      setTimeout(look, pause);
    };
    setTimeout(look, pause);
  }

  // A form is sent once.
  for (const form of document.querySelectorAll("form")) {
    form.addEventListener("submit", (event) => {
      if (form.dataset.sent) return event.preventDefault();
      form.dataset.sent = "yes";
      for (const button of form.querySelectorAll("button")) button.setAttribute("aria-busy", "true");
    });
  }
  // A page that comes back from the browser's memory may be sent again; the server counts it once.
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form")) delete form.dataset.sent;
  });

  // A turn that is begun survives a reload of this tab, and a server that is away: only a turn that is saved is forgotten.
  const text = document.getElementById("text");
  const key = `${place} ${number}`;
  if (!text) sessionStorage.removeItem(key);
  if (text) {
    if (!text.value) text.value = sessionStorage.getItem(key) || "";
    text.addEventListener("input", () => sessionStorage.setItem(key, text.value));
    text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) text.form.requestSubmit();
    });
  }

  // 1 to 7 choose an answer, Enter saves it.
  const vote = document.getElementById("vote");
  if (vote) {
    const chosen = vote.querySelector(".chosen");
    const marks = [...vote.querySelectorAll("input[type=radio]")];
    const say = () => {
      const mark = marks.find((each) => each.checked);
      chosen.textContent = mark ? mark.getAttribute("aria-label") : "";
    };
    vote.addEventListener("change", say);
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const mark = marks.find((each) => each.dataset.key === event.key);
      if (mark) {
        mark.checked = true;
        mark.focus();
        say();
      } else if (event.key === "Enter" && event.target === document.body) {
        vote.requestSubmit();
      }
    });
    say();
  }
})();

"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const [task, arm, outcome, find, count, more, clear] = ["task", "arm", "outcome", "find", "count", "more", "clear"].map(
    (id) => document.getElementById(id),
  );
  const page = 20;
  let room = page;
  const cases = Array.from(document.querySelectorAll("article"), (element) => ({
    element,
    tags: new Set(element.dataset.tags.split(" ")),
    // What the models saw is folded away, and is not searched: the questions stand in it once more.
    text: Array.from(element.querySelectorAll("p, h3, .why"), (part) => part.textContent).join("\n").toLowerCase(),
  }));
  const update = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let fitting = 0;
    for (const { element, tags, text } of cases) {
      const fits =
        (!task.value || element.dataset.task === task.value) &&
        (!arm.value || tags.has(arm.value)) &&
        (!outcome.value || tags.has(outcome.value)) &&
        words.every((word) => text.includes(word));
      if (fits) fitting += 1;
      element.hidden = !fits || fitting > room;
    }
    more.hidden = fitting <= room;
    clear.hidden = !(task.value || arm.value || outcome.value || words.length);
    count.textContent = fitting ? `${Math.min(fitting, room)} shown of ${fitting} here` : "none here fits";
  };
  const again = () => {
    room = page;
    update();
  };
  const reset = () => {
    form.reset();
    again();
  };
  form.hidden = false;
  form.addEventListener("input", again);
  form.addEventListener("submit", (event) => event.preventDefault());
  clear.addEventListener("click", () => {
    reset();
    find.focus();
  });
  more.addEventListener("click", () => {
    const first = cases.filter(({ element }) => !element.hidden).length;
    room += 3 * page;
    update();
    const next = cases.filter(({ element }) => !element.hidden)[first];
    if (next) next.element.focus({ preventScroll: true });
  });
  // A task's name in a plot leads to its examples.
  for (const link of document.querySelectorAll("a[data-filter]")) {
    link.addEventListener("click", () => {
      form.reset();
      task.value = link.dataset.filter;
      again();
    });
  }
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      document.getElementById("cases").scrollIntoView();
      find.focus();
    } else if (event.key === "Escape" && event.target === find) {
      reset();
    }
  });
  update();
})();

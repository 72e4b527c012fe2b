"use strict";
(() => {
  const form = document.getElementById("filters");
  if (!form) return;
  const [task, outcome, find, count, more] = ["task", "outcome", "find", "count", "more"].map((id) =>
    document.getElementById(id),
  );
  const page = 20;
  let room = page;
  const cases = Array.from(document.querySelectorAll("article"), (element) => ({
    element,
    text: element.textContent.toLowerCase(),
  }));
  const update = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let fitting = 0;
    for (const { element, text } of cases) {
      const fits =
        (!task.value || element.dataset.task === task.value) &&
        (!outcome.value || element.dataset.outcome === outcome.value) &&
        words.every((word) => text.includes(word));
      if (fits) fitting += 1;
      element.hidden = !fits || fitting > room;
    }
    more.hidden = fitting <= room;
    count.textContent = `${Math.min(fitting, room)} shown of ${fitting}`;
  };
  form.addEventListener("input", () => {
    room = page;
    update();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    room += 3 * page;
    update();
  });
  update();
})();

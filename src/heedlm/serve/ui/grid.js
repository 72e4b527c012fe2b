// Questions one below the other, and below each its grid of answers: columns are models and formats, rows system texts.

import { isRunning, newRound, places, stop, systemText } from "./ask.js";
import { cellNode, start } from "./cell.js";
import { $, button, fill, h, icon, say, short } from "./dom.js";
import { caseDialog } from "./fix.js";
import { canAsk, known } from "./known.js";
import { columns, save, state } from "./state.js";

// What the built-in base learns to answer, and any other model may try.
const EXAMPLES = [
  ["A fact", "What is the capital of France?"],
  ["A made-up country", "What is the capital of Zourmin?"],
  [
    "Data",
    "Name the best month for cups, and say how sales went from first to last.\n\nAugust: 28\nSeptember: 27\nOctober: 33\nNovember: 40",
  ],
  [
    "An email",
    "Jack Grove waits for his bowls, and they are late. Write him an apology from Umar Owen, Field and Forest.",
  ],
  ["A story", "Write a short story that begins with a mysterious letter and ends with a surprising twist."],
  ["A guide", "How do people plant a tree? I need a guide with tools and steps."],
];

export function askAll(user) {
  const round = newRound(user);
  drawRound(round);
  showEmpty();
  const all = [...places(round)].map(({ system, column }) => start(round, system, column));
  Promise.all(all).then(() => say(`${all.length} answer${all.length === 1 ? " is" : "s are"} there.`));
  $(`r-${round.id}`).scrollIntoView({ block: "start" });
}

export function drawRounds() {
  $("rounds").replaceChildren();
  for (const round of state.rounds) drawRound(round);
  showEmpty();
  $("rounds").lastElementChild?.scrollIntoView({ block: "start" });
}

function drawRound(round) {
  const wide = round.columns.length;
  const rows = round.systems.flatMap((system, index) => [
    (round.systems.length > 1 || systemText(system).trim()) &&
      h(
        "p",
        { class: "system-row" },
        h("span", { class: "num" }, round.systems.length > 1 ? String(index + 1) : "system"),
        systemText(system).trim() || h("span", { class: "quiet" }, "no system text"),
      ),
    h(
      "div",
      { class: "cells" },
      round.columns.map((column) => cellNode(round, system, column)),
    ),
  ]);
  const node = h(
    "section",
    { class: "round", id: `r-${round.id}`, "aria-label": `Question: ${round.user.slice(0, 80)}` },
    h(
      "header",
      {},
      round.history && h("span", { class: "quiet chain", title: "goes on with the conversation above" }, "↳"),
      h("h2", { class: "question text" }, round.user),
      h(
        "div",
        { class: "actions" },
        button("Ask again", () => askAll(round.user), {
          class: "plain small",
          title: "With the grid as it is set up now",
        }),
        button(
          "Edit",
          () => {
            $("question").value = round.user;
            $("question").dispatchEvent(new Event("input"));
            $("question").focus();
          },
          { class: "plain small" },
        ),
        button(
          "Save as case",
          () =>
            caseDialog({
              messages: [{ role: "user", content: round.user }],
              reply: Object.values(round.cells)[0]?.text ?? "",
            }),
          { class: "plain small" },
        ),
        button(icon("close"), () => remove(round), { class: "plain small", "aria-label": "Take this question away" }),
      ),
    ),
    rows,
  );
  node.style.setProperty("--columns", String(wide));
  $("rounds").append(node);
}

function remove(round) {
  Object.values(round.cells).forEach(stop);
  state.rounds.splice(state.rounds.indexOf(round), 1);
  $(`r-${round.id}`).remove();
  showEmpty();
  save();
  $("question").focus();
}

export function showEmpty() {
  const box = $("empty");
  box.hidden = state.rounds.length > 0;
  if (box.hidden) return;
  const ways = columns().filter(canAsk).length;
  const texts = state.systems.length;
  const each = ways * texts === 1 ? "one answer" : `${ways * texts} answers`;
  const what =
    (!known.models.length && "The server has no models.") ||
    (!ways && "Choose a model and a format on the left.") ||
    `Each question gets ${each}${texts > 1 ? `: ${ways} ways to ask, ${texts} system texts` : ""}.`;
  fill(
    box,
    h("h2", {}, "One question, every model, side by side."),
    h(
      "p",
      { class: "lead" },
      what,
      " See what each model really saw, how sure it was of each word, and mend what is wrong: the next training takes it.",
    ),
    h(
      "ul",
      { class: "examples" },
      EXAMPLES.map(([name, text]) =>
        h(
          "li",
          {},
          button([h("b", {}, name), h("span", {}, short(text, 110))], () => !isRunning() && askAll(text), {
            disabled: !ways,
          }),
        ),
      ),
    ),
  );
}

// Two answers word by word: what both say, what only one of them says.

import { dialog, fill, h, field } from "./dom.js";

const MOST_WORDS = 1500; // of one side: the table of the comparison has the square of that

// Pieces of [kind, text]: "same", "left" or "right", by the longest common subsequence of words.
export function words(a, b) {
  const [left, right] = [a, b].map((text) => text.match(/\s+|[\p{L}\p{N}_]+|[^\s\p{L}\p{N}_]/gu) ?? []);
  if (left.length > MOST_WORDS || right.length > MOST_WORDS)
    return a === b
      ? [["same", a]]
      : [
          ["left", a],
          ["right", b],
        ];
  const width = right.length + 1;
  const table = new Uint16Array((left.length + 1) * width);
  for (let i = left.length - 1; i >= 0; i--)
    for (let j = right.length - 1; j >= 0; j--)
      table[i * width + j] =
        left[i] === right[j]
          ? table[(i + 1) * width + j + 1] + 1
          : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
  const found = [];
  const put = (kind, text) => (found.at(-1)?.[0] === kind ? (found.at(-1)[1] += text) : found.push([kind, text]));
  let [i, j] = [0, 0];
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && left[i] === right[j]) (put("same", left[i++]), j++);
    else if (j === right.length || (i < left.length && table[(i + 1) * width + j] >= table[i * width + j + 1]))
      put("left", left[i++]);
    else put("right", right[j++]);
  }
  return found;
}

const count = (pieces, kind) =>
  pieces
    .filter((one) => one[0] === kind)
    .reduce((sum, [, text]) => sum + (text.match(/[\p{L}\p{N}_]+/gu) ?? []).length, 0);

export function showDiff(answers, first, second) {
  const options = () => answers.map((one, index) => h("option", { value: String(index) }, one.name));
  const [from, to] = [h("select", {}, options()), h("select", {}, options())];
  from.value = String(first);
  to.value = String(second);
  const body = h("div", { class: "diff" });
  const draw = () => {
    const [a, b] = [answers[from.value], answers[to.value]];
    const pieces = words(a.text, b.text);
    const side = (kind, tag, one) =>
      h(
        "article",
        {},
        h("h3", {}, one.name),
        h(
          "p",
          { class: "text" },
          pieces
            .filter(([what]) => what === "same" || what === kind)
            .map(([what, text]) => (what === "same" ? text : h(tag, {}, text))),
          one.text ? "" : h("span", { class: "quiet" }, "(empty)"),
        ),
      );
    const [same, left, right] = ["same", "left", "right"].map((kind) => count(pieces, kind));
    const sum =
      a.text === b.text
        ? "The two answers are the same, letter for letter."
        : `${same} words in both, ${left} only in the first, ${right} only in the second.`;
    fill(
      body,
      h("p", { class: "quiet" }, sum),
      h("div", { class: "sides" }, side("left", "del", a), side("right", "ins", b)),
    );
  };
  for (const one of [from, to]) one.addEventListener("change", draw);
  draw();
  dialog(
    "Two answers, word by word",
    h("div", {}, h("div", { class: "pair" }, field("First", from), field("Second", to)), body),
    { wide: true },
  );
}

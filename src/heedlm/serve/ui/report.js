// What a matrix shows: scores with their intervals, the difference to the bare request, what was won and lost.

import { button, dialog, fill, h, number, short } from "./dom.js";
import { download } from "./export.js";
import { files } from "./instruct.js";

const SURE = { 1: ["better for sure", "good"], 0: ["may be luck", "quiet"], "-1": ["worse for sure", "bad"] };

// shown: `report`, as JSON, and `html`, as a page.
export function drawReport(box, shown) {
  const { report: found } = shown;
  const ways = [...new Map(found.cells.map((one) => [`${one.model}|${one.format}`, one])).values()];
  const names = [...new Set(found.cells.map((one) => one.instruction))];
  const cellOf = (name, way) =>
    found.cells.find((one) => one.instruction === name && one.model === way.model && one.format === way.format);
  fill(
    box,
    h("p", { class: "mx-headline" }, found.headline),
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "The matrix" },
      h(
        "table",
        { class: "mx" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", {}, "Instruction"),
            ways.map((one) => h("th", { scope: "col" }, one.model, h("small", {}, one.format))),
          ),
        ),
        h(
          "tbody",
          {},
          names.map((name) =>
            h(
              "tr",
              { class: found.cells.some((one) => one.instruction === name && one.baseline) ? "" : "base" },
              h("th", { scope: "row" }, name, h("small", {}, aboutOf(name))),
              ways.map((way) => cell(cellOf(name, way))),
            ),
          ),
        ),
      ),
    ),
    h(
      "div",
      { class: "row end" },
      button("JSON", () => download("matrix.json", "application/json", `${JSON.stringify(found, null, 1)}\n`), {
        class: "plain",
      }),
      button("Report, as a page", () => download("matrix.html", "text/html", shown.html), {
        class: "plain",
        id: "mx-html",
      }),
    ),
    h(
      "p",
      { class: "quiet" },
      "Scores with Wilson’s 95 % interval; differences on the same cases with a paired 95 % interval; sure where interval and p-value over all cells agree.",
    ),
    found.notes.map((one) => h("p", { class: "quiet" }, one)),
  );
}

const aboutOf = (name) =>
  name.startsWith("empty")
    ? "the data alone, no word more"
    : ([...files.saved, ...files.library].find((one) => one.name === name)?.about ?? "");

const percent = (value) => `${number(100 * value)} %`;
const signed = (value) => `${value > 0 ? "+" : value < 0 ? "−" : ""}${number(Math.abs(100 * value))}`;

function cell(one) {
  if (!one) return h("td", { class: "quiet" }, "–");
  const [band, mark] = [h("i"), h("b")];
  band.style.left = `${100 * one.low}%`;
  band.style.width = `${100 * (one.high - one.low)}%`;
  mark.style.left = `calc(${100 * one.score}% - 1.5px)`;
  const gain = one.difference;
  const [word, style] = SURE[one.sure];
  return h(
    "td",
    {},
    h(
      "div",
      { class: "cell-head" },
      h("span", { class: "score" }, percent(one.score)),
      h("small", {}, `${one.n} cases`),
    ),
    h(
      "div",
      { class: "range", role: "img", "aria-label": `95 % interval ${percent(one.low)} to ${percent(one.high)}` },
      band,
      mark,
    ),
    h(
      "small",
      {},
      `${percent(one.low)} to ${percent(one.high)}${one.errors ? `; ${one.errors} without an answer` : ""}${one.cut ? `; ${one.cut} cut` : ""}`,
    ),
    gain &&
      h(
        "div",
        { class: "gain" },
        h("b", { class: style }, `${signed(gain.mean)} points`),
        ` to ${one.baseline} `,
        h("small", {}, `${signed(gain.low)} to ${signed(gain.high)}; ${word}`),
      ),
    one.flips.length > 0 &&
      button(
        `${one.flips.filter((it) => it.won).length} won, ${one.flips.filter((it) => !it.won).length} lost`,
        () => flips(one),
        { class: "plain small flip" },
      ),
  );
}

function flips(one) {
  const side = (title, said, why) =>
    h(
      "div",
      {},
      h("h3", {}, title),
      h("p", { class: "said" }, said || "(empty)"),
      why && h("small", { class: "quiet" }, why),
    );
  dialog(
    `${one.instruction}: won and lost`,
    h(
      "div",
      { class: "flips" },
      [...one.flips]
        .sort((a, b) => Number(a.won) - Number(b.won))
        .slice(0, 100)
        .map((it) =>
          h(
            "article",
            {},
            h("b", { class: it.won ? "good" : "bad" }, it.won ? "won " : "lost "),
            short(it.item, 80),
            h(
              "div",
              { class: "sides" },
              side(one.baseline, it.before, it.why_before),
              side(one.instruction, it.after, it.why_after),
            ),
          ),
        ),
    ),
    { wide: true },
  );
}

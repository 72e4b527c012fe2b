// What people thought of the answers, counted by the way they were asked for.

import { get } from "./api.js";
import { $, fill, h, number, short } from "./dom.js";
import { formatName, known } from "./known.js";

export async function loadVotes() {
  const { tally, problems } = await get("/ui/api/votes");
  const head = h(
    "div",
    { class: "row view-head" },
    h(
      "div",
      {},
      h("h2", {}, "Votes"),
      h("p", { class: "quiet" }, `Each answer counts as it was judged last. Kept in ${known.files.votes}.`),
    ),
  );
  const wrong = problems.map((one) => h("p", { class: "error" }, one.what, ` (${one.where}) `, one.mend));
  if (!tally.length) {
    fill($("view-votes"), head, wrong, h("p", { class: "empty-note" }, "No votes yet: ▲ and ▼ below an answer."));
    return;
  }
  const share = (one) => one.good / (one.good + one.bad || 1);
  const rows = [...tally]
    .sort((a, b) => share(b) - share(a) || b.good - a.good)
    .map((one) => {
      const bar = h("i");
      bar.style.width = `${100 * share(one)}%`;
      const voted = one.good + one.bad;
      return h(
        "tr",
        {},
        h(
          "th",
          { scope: "row" },
          one.model,
          h("small", {}, formatName(one.format), one.system && ` · ${short(one.system, 60)}`),
        ),
        h("td", {}, number(one.good)),
        h("td", {}, number(one.bad)),
        h("td", {}, voted ? [h("span", { class: "bar wide" }, bar), ` ${number(100 * share(one))} %`] : "–"),
        h(
          "td",
          { class: "notes" },
          one.notes.map((note) => h("p", {}, note.note, h("small", {}, `on “${short(note.question, 60)}”`))),
        ),
      );
    });
  fill(
    $("view-votes"),
    head,
    wrong,
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Votes" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["Asked how", "Good", "Bad", "Share", "Notes"].map((name) => h("th", { scope: "col" }, name)),
          ),
        ),
        h("tbody", {}, rows),
      ),
    ),
  );
}

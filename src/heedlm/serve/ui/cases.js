// Saved cases, run over the whole grid: which way to ask passes which of them.

import { get, post } from "./api.js";
import { answerOf, systemText, under } from "./ask.js";
import { inWords, judge } from "./checks.js";
import { $, button, dialog, fill, h, icon, say, short } from "./dom.js";
import { caseDialog, onCases } from "./fix.js";
import { canAsk, formatName, known } from "./known.js";
import { cellKey, columns, save, state } from "./state.js";

const AT_ONCE = 4;
let cases = [];
let problems = [];
let control = null; // of the run in progress

export const allCases = () => cases;

export async function loadCases() {
  ({ cases, problems } = await get("/ui/api/cases"));
  $("cases-count").textContent = cases.length ? String(cases.length) : "";
  drawCases();
}

onCases.hear = () => loadCases().catch(() => {});

// Ways to ask: a column of the grid under a system text.
export const ways = () =>
  state.systems.flatMap((system, index) =>
    columns()
      .filter(canAsk)
      .map((column) => ({
        system,
        column,
        key: `${cellKey(system.instruction ? JSON.stringify(system.instruction) : system.text, column.model, column.format)}`,
        name: column.model,
        under: formatName(column.format) + (state.systems.length > 1 ? ` · system ${index + 1}` : ""),
      })),
  );

const settings = () => JSON.stringify(state.sampling);
const fresh = (one, found) => found && found.checks === JSON.stringify(one.checks) && found.sampling === settings();

export function drawCases() {
  const box = $("view-cases");
  const all = ways();
  const head = h(
    "div",
    { class: "row view-head" },
    h(
      "div",
      {},
      h("h2", {}, "Cases"),
      h(
        "p",
        { class: "quiet" },
        `Asked again of every way in the grid, judged by checks. Kept in ${known.files.cases ?? "cases.jsonl"}; the evaluation of the next model asks them too.`,
      ),
    ),
    h(
      "div",
      { class: "row" },
      button("New case", () => caseDialog({ messages: [{ role: "user", content: "" }] }), { class: "plain" }),
      control
        ? button("Stop", () => control.abort(), { class: "plain" })
        : button("Run all", runAll, { class: "main", id: "run-cases", disabled: !cases.length || !all.length }),
    ),
  );
  const wrong = problems.map((one) => h("p", { class: "error" }, one.what, ` (${one.where}) `, one.mend));
  if (!cases.length) {
    fill(
      box,
      head,
      wrong,
      h(
        "p",
        { class: "empty-note" },
        "No cases yet. “Fix” below an answer writes one, and so does “Save as case” beside a question.",
      ),
    );
    return;
  }
  const rows = cases.map((one) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, asked(one), h("small", {}, one.checks.map(inWords).join(", "))),
      all.map((way) => result(one, way)),
      h(
        "td",
        {},
        button(icon("close"), () => remove(one), {
          class: "plain small",
          "aria-label": `Take the case “${asked(one)}” away`,
        }),
      ),
    ),
  );
  const sums = all.map((way) => {
    const found = cases
      .map((one) => [one, state.judged[one.id]?.[way.key]])
      .filter(([one, verdict]) => fresh(one, verdict) && !verdict.error);
    return h(
      "td",
      {},
      found.length ? h("b", {}, `${found.filter(([, verdict]) => verdict.passed).length} of ${found.length}`) : "–",
    );
  });
  fill(
    box,
    head,
    wrong,
    h(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Cases over the grid" },
      h(
        "table",
        {},
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            h("th", {}, "Case"),
            all.map((way) => h("th", { scope: "col" }, way.name, h("small", {}, way.under))),
            h("th", {}, h("span", { class: "sr" }, "Take away")),
          ),
        ),
        h("tbody", {}, rows),
        h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, "Passed"), sums, h("td", {}))),
      ),
    ),
  );
}

const asked = (one) => short(one.messages.at(-1)?.content ?? "", 90);

function result(one, way) {
  const found = state.judged[one.id]?.[way.key];
  if (found?.running) return h("td", {}, h("span", { class: "dots", "aria-label": "Running" }));
  if (!fresh(one, found)) return h("td", { class: "quiet" }, "–");
  if (found.error)
    return h(
      "td",
      {},
      button("!", () => show(one, way, found), {
        class: "plain small verdict-error",
        "aria-label": `error: ${found.error}`,
      }),
    );
  return h(
    "td",
    {},
    button(found.passed ? "✓" : "✗", () => show(one, way, found), {
      class: `plain small ${found.passed ? "good" : "bad"}`,
      "aria-label": `${found.passed ? "passed" : "failed"}: ${way.name}, ${way.under}`,
      title: found.passed ? "passed" : (found.verdicts.find((it) => !it.passed)?.why ?? "failed"),
    }),
  );
}

function show(one, way, found) {
  dialog(
    `${way.name} · ${way.under}`,
    h(
      "div",
      { class: "turns" },
      one.messages.map((turn) =>
        h("p", { class: "text" }, h("span", { class: `role o-${turn.role}` }, turn.role), turn.content),
      ),
      found.error
        ? h("p", { class: "error" }, found.error)
        : h("p", { class: "text" }, h("span", { class: "role o-assistant" }, "answer"), found.reply || "(empty)"),
      (found.verdicts ?? []).map((it) =>
        h("p", { class: it.passed ? "good" : "bad" }, it.passed ? "✓ " : "✗ ", it.why),
      ),
      one.answer && h("p", { class: "text" }, h("span", { class: "role" }, "right"), one.answer),
    ),
  );
}

async function remove(one) {
  const box = dialog(
    "Take this case away?",
    h(
      "div",
      {},
      h("p", {}, asked(one)),
      h("p", { class: "quiet" }, "The row that a mended answer wrote stays; heed data withdraw takes it back."),
      h(
        "div",
        { class: "row end" },
        button(
          "Take it away",
          async () => {
            try {
              await post("/ui/api/cases/remove", { id: one.id });
              delete state.judged[one.id];
              save();
              box.close();
              await loadCases();
            } catch (error) {
              box.append(h("p", { class: "error" }, error.message, " ", error.mend));
            }
          },
          { class: "main" },
        ),
      ),
    ),
  );
}

async function runAll() {
  control = new AbortController();
  const { signal } = control;
  const sampling = structuredClone(state.sampling);
  const mark = { sampling: settings() };
  const todo = cases.flatMap((one) => ways().map((way) => ({ one, way })));
  for (const { one, way } of todo) (state.judged[one.id] ??= {})[way.key] = { running: true };
  drawCases();
  const worker = async () => {
    for (let next = todo.shift(); next && !signal.aborted; next = todo.shift()) {
      const { one, way } = next;
      let found;
      try {
        const own = one.messages.some((turn) => turn.role === "system");
        const { model, format } = way.column;
        const asked = own
          ? { messages: one.messages, stop: [] }
          : await under(way.system, model, format, one.messages, signal);
        const reply = await answerOf(model, format, asked.messages, sampling, signal, asked.stop);
        const [verdict] = await judge([{ checks: one.checks, reply }]);
        found = { reply, ...verdict };
      } catch (error) {
        if (error.name === "AbortError") break;
        found = { error: `${error.message} ${error.mend ?? ""}`.trim() };
      }
      state.judged[one.id][way.key] = { ...found, ...mark, checks: JSON.stringify(one.checks) };
      drawCases();
      save();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  for (const found of Object.values(state.judged))
    for (const [key, one] of Object.entries(found)) if (one.running) delete found[key];
  control = null;
  save();
  drawCases();
  const done = Object.values(state.judged).flatMap(Object.values);
  say(`Cases are run: ${done.filter((one) => one.passed).length} of ${done.length} passed.`);
}

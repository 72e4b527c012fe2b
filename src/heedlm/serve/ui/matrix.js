// The matrix: instructions, models and formats on the same cases, each against the bare request.

import { ApiError, post } from "./api.js";
import { patiently } from "./ask.js";
import { $, button, fill, h, number, say } from "./dom.js";
import { ask, doc, files, look } from "./instruct.js";
import { canAsk, formatName } from "./known.js";
import { drawReport } from "./report.js";
import { columns, save, state } from "./state.js";

const AT_ONCE = 4;
const NOTATIONS = { "": "as written", markdown: "Markdown", xml: "XML", label: "labels", plain: "plain" };
const CHECKS = ["contains", "icontains", "equals", "iequals", "starts-with", "not-contains", "is-json", "regex"];
const BARE = ["is-json"]; // checks without a value
const answered = new Map(); // request -> reply: nothing is asked twice
let control = null; // of the run in progress
let progress = null; // { done, of }
let shown = null; // { report, html } of state.matrix.run
let problem = null;

const setup = () => state.matrix;

// Its parts -----------------------------------------------------------------------------------------------------------

export function drawMatrix() {
  if (!files.ready) return;
  if (look.of !== doc().source) ask(); // which input is typed
  const focus = document.activeElement?.closest?.("#view-matrix") ? document.activeElement.id : "";
  const ways = asking();
  fill(
    $("view-matrix"),
    h(
      "div",
      { class: "row view-head" },
      h(
        "div",
        {},
        h("h2", {}, "Matrix"),
        h(
          "p",
          { class: "quiet" },
          ways.length
            ? `Every instruction on the same cases, asked ${ways.map((one) => `of ${one.model} (${formatName(one.format)})`).join(", ")}, and each against the bare request.`
            : "Choose a model and a format on the left.",
        ),
      ),
      h(
        "div",
        { class: "row" },
        control
          ? button("Stop", () => control.abort(), { class: "plain", id: "mx-stop" })
          : button("Run", run, { class: "main", id: "mx-run", disabled: !ways.length || !chosen().length }),
      ),
    ),
    h("div", { class: "mx-setup" }, instructions(), cases()),
    h("div", { id: "mx-told", role: "status" }),
    h("div", { id: "mx-report" }),
  );
  told();
  report();
  if (focus) $(focus)?.focus();
}

const UNWRITTEN = "base"; // a format that no instruction is written in
const asking = () => columns().filter((one) => canAsk(one) && one.format !== UNWRITTEN);

const chosen = () => [
  ...(setup().own && doc().source ? [{ name: doc().name, origin: "" }] : []),
  ...setup().beside.filter((one) => there(one) && one.name !== (setup().own ? doc().name : "")),
];

const there = ({ name, origin }) =>
  (origin === "library" ? files.library : files.saved).some((one) => one.name === name);

function instructions() {
  const tick = (id, label, note, checked, hear) => {
    const box = h("input", { type: "checkbox", id, checked, on: { change: () => hear(box.checked) } });
    return h(
      "label",
      { class: "choice", for: id },
      box,
      h("span", { class: "name" }, label, note && h("small", {}, note)),
    );
  };
  const other = (origin) => (one) =>
    tick(
      `mx-${origin}-${one.name}`,
      one.name,
      one.about,
      setup().beside.some((it) => it.name === one.name && it.origin === origin),
      (on) => {
        const rest = setup().beside.filter((it) => it.name !== one.name);
        setup().beside = on ? [...rest, { name: one.name, origin }] : rest;
        changed();
      },
    );
  return h(
    "section",
    {},
    h("h3", {}, "Instructions"),
    h(
      "div",
      { class: "mx-list", tabindex: 0, role: "group", "aria-label": "Instructions" },
      tick("mx-own", doc().name, "the one that is open", setup().own, (on) => {
        setup().own = on;
        changed();
      }),
      files.saved.filter((one) => one.name !== doc().name).map(other("folder")),
      files.library.filter((one) => one.name !== doc().name).map(other("library")),
    ),
    h(
      "div",
      { class: "mx-notations", role: "group", "aria-label": "Notations" },
      Object.entries(NOTATIONS).map(([id, label]) =>
        tick(`mx-n-${id || "own"}`, label, "", setup().notations.includes(id), (on) => {
          const rest = setup().notations.filter((one) => one !== id);
          setup().notations = on ? [...rest, id] : rest.length ? rest : [""];
          changed();
        }),
      ),
    ),
  );
}

function changed() {
  save();
  drawMatrix();
}

function cases() {
  const text = h("textarea", {
    class: "mx-cases",
    id: "mx-cases",
    rows: 5,
    spellcheck: "false",
    "aria-label": "Cases, one on each line",
    placeholder: '{"vars": {"text": "..."}, "assert": [{"type": "contains", "value": "..."}]}',
    on: {
      input: () => {
        setup().cases = text.value;
        save();
      },
    },
  });
  text.value = setup().cases;
  return h("section", {}, h("h3", {}, "Cases, one on each line"), text, adder(text));
}

function adder(text) {
  const asked = h("input", { id: "mx-asked" });
  const kind = h(
    "select",
    { id: "mx-kind", on: { change: () => (value.disabled = BARE.includes(kind.value)) } },
    CHECKS.map((one) => h("option", {}, one)),
  );
  const value = h("input", { id: "mx-value" });
  const add = () => {
    if (!asked.value.trim() || (!BARE.includes(kind.value) && !value.value)) {
      (asked.value.trim() ? value : asked).focus();
      return;
    }
    const check = BARE.includes(kind.value) ? { type: kind.value } : { type: kind.value, value: value.value };
    const line = JSON.stringify({ vars: { [doc().typed || "message"]: asked.value }, assert: [check] });
    setup().cases = text.value = `${text.value.trimEnd()}${text.value.trim() ? "\n" : ""}${line}\n`;
    save();
    asked.value = "";
    asked.focus();
  };
  for (const box of [asked, value])
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      event.preventDefault();
      add();
    });
  return h(
    "div",
    { class: "mx-add" },
    h("div", {}, h("label", { for: "mx-asked" }, "A case: what is typed"), asked),
    h("div", {}, h("label", { for: "mx-kind" }, "its answer"), kind),
    h("div", {}, h("label", { for: "mx-value" }, "value"), value),
    button("Add", add, { class: "plain", id: "mx-add" }),
  );
}

// The run -------------------------------------------------------------------------------------------------------------

async function bodyOf() {
  const found = await Promise.all(
    chosen().map(async ({ name, origin }) => ({
      name,
      source: origin ? (await post("/ui/api/instructions/open", { name, origin })).source : doc().source,
    })),
  );
  const ways = asking().flatMap(({ model, format }) =>
    setup().notations.map((one) => ({ model, format: one ? `${format}/${one}` : format })),
  );
  return {
    instructions: found,
    ways,
    cases: setup().cases,
    max_tokens: state.sampling.max_tokens,
  };
}

async function run() {
  control = new AbortController();
  const { signal } = control;
  [problem, progress, shown] = [null, { done: 0, of: 0 }, null];
  drawMatrix();
  $("mx-stop").focus();
  try {
    const body = await bodyOf();
    const plan = await post("/ui/api/matrix/plan", body, signal);
    const replies = await answers(plan.asks, signal);
    setup().run = { body, replies };
    await score();
    say(`The matrix is there: ${shown.report.headline}`);
  } catch (error) {
    if (error.name !== "AbortError") {
      if (!(error instanceof ApiError)) throw error;
      problem = error;
    }
  } finally {
    [control, progress] = [null, null];
    save();
    drawMatrix();
    $("mx-run")?.focus({ preventScroll: true });
    if (shown) $("mx-report").scrollIntoView({ block: "start" });
  }
}

async function answers(asks, signal) {
  progress = { done: 0, of: asks.length };
  const replies = new Array(asks.length);
  told();
  let next = 0;
  const worker = async () => {
    while (next < asks.length && !signal.aborted) {
      const at = next++;
      replies[at] = await reply(asks[at], signal);
      progress.done += 1;
      told();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (signal.aborted) throw new DOMException("stopped", "AbortError");
  return replies;
}

async function reply({ path, body }, signal) {
  const key = JSON.stringify([path, body]);
  if (answered.has(key)) return answered.get(key);
  try {
    const value = await patiently(path, { ...body, temperature: 0 }, signal);
    const choice = value.choices[0];
    const text = choice.text ?? choice.message?.content ?? "";
    const found = {
      text,
      finish: choice.finish_reason === "length" ? "length" : "stop",
      tokens: value.usage?.completion_tokens ?? null,
    };
    answered.set(key, found);
    return found;
  } catch (error) {
    if (error.name === "AbortError" || error.status === 0 || error.status === 401) throw error;
    return { text: `${error.message} ${error.mend ?? ""}`.trim(), finish: "error", tokens: null };
  }
}

async function score() {
  const { body, replies } = setup().run;
  shown = await post("/ui/api/matrix/score", { ...body, replies });
}

// The report ----------------------------------------------------------------------------------------------------------

function told() {
  const box = $("mx-told");
  if (!box) return;
  if (problem)
    fill(
      box,
      h(
        "div",
        { class: "error", role: "alert" },
        h("b", {}, problem.message),
        problem.mend && h("p", {}, problem.mend),
        (problem.problems ?? []).slice(1).map((one) => h("p", {}, `${one.where}: ${one.what} → ${one.mend}`)),
      ),
    );
  else if (progress) {
    const bar = h("i");
    bar.style.width = `${progress.of ? (100 * progress.done) / progress.of : 0}%`;
    fill(
      box,
      h(
        "div",
        { class: "mx-progress" },
        h("span", { class: "bar" }, bar),
        progress.of ? `${number(progress.done)} of ${number(progress.of)} answers` : "compiling",
      ),
    );
  } else fill(box);
}

function report() {
  const box = $("mx-report");
  if (!shown) {
    if (setup().run && !control && !problem) again();
    else if (!control)
      fill(
        box,
        h(
          "p",
          { class: "empty-note" },
          "Choose instructions, write a few cases, and run: which words help this model, and how sure that is.",
        ),
      );
    return;
  }
  drawReport(box, shown);
}

let scoring = false;

// After a reload: the replies are here, and are judged once more.
async function again() {
  if (scoring) return;
  scoring = true;
  try {
    await score();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.status === 422) setup().run = null; // kept by another version, or its model is gone
  } finally {
    scoring = false;
  }
  if (shown && $("mx-report")) report();
}

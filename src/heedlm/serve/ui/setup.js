// The left side: which models, formats and system texts make the grid, and how tokens are drawn.

import { $, button, field, fill, h, icon, number } from "./dom.js";
import { canAsk, formatName, formatsThere, known, modelOf } from "./known.js";
import { OWN, PLAIN, columnKey, columns, newId, save, state } from "./state.js";

const KINDS = { base: "base", instruct: "instruct", unknown: "" };
export const onSetup = { hear: () => {} };

function changed(redraw = false) {
  save();
  if (redraw) drawSetup();
  onSetup.hear();
}

export function drawSetup() {
  const focused = document.activeElement?.id;
  fill($("setup"), models(), formats(), closed(), systems(), sampling(), view());
  if (focused && !document.activeElement?.id) $(focused)?.focus();
}

const part = (title, ...children) => h("section", {}, h("h2", {}, title), children);

function choice(list, id, label, more, name) {
  const box = h("input", {
    type: "checkbox",
    id: name,
    checked: list.includes(id),
    on: {
      change: () => {
        if (box.checked) list.push(id);
        else list.splice(list.indexOf(id), 1);
        state.hidden = state.hidden.filter((key) => !key.startsWith(`${id}|`) && !key.endsWith(`|${id}`));
        changed(true);
      },
    },
  });
  return h("label", { class: "choice", for: name }, box, h("span", { class: "name" }, label), more);
}

function models() {
  const three = threeWays();
  return part(
    "Models",
    known.models.map((one) =>
      choice(
        state.models,
        one.id,
        one.id,
        h("span", { class: `badge k-${one.kind}`, title: about(one) }, KINDS[one.kind] ?? one.kind),
        `m-${one.id}`,
      ),
    ),
    three &&
      button("Base · instruct · chat", three, {
        class: "plain small",
        title: "The base continues the text; the tuned model answers it bare, and in its chat template",
      }),
  );
}

const about = (one) =>
  [
    one.parameters && `${number(one.parameters / 1e6, 1)}M parameters`,
    one.context && `context ${number(one.context)}`,
    one.base && `tuned from ${one.base}`,
    one.note,
  ]
    .filter(Boolean)
    .join(", ");

// The base as a base is asked, the tuned one without its template and with it.
function threeWays() {
  const base = known.models.find((one) => one.kind === "base");
  const tuned = known.models.find((one) => one.kind === "instruct");
  if (!base || !tuned) return null;
  return () => {
    Object.assign(state, { models: [base.id, tuned.id], formats: [PLAIN, OWN], hidden: [columnKey(base.id, OWN)] });
    changed(true);
  };
}

function formats() {
  const notes = { [OWN]: "as taught", [PLAIN]: "continues" };
  return part(
    "Formats",
    formatsThere().map((id) =>
      choice(state.formats, id, formatName(id), notes[id] && h("span", { class: "quiet" }, notes[id]), `f-${id}`),
    ),
  );
}

// The columns that this makes, each to be closed and opened again.
function closed() {
  const all = state.models.flatMap((model) => state.formats.map((format) => ({ model, format })));
  if (all.length < 2) return null;
  const rows = all.map(({ model, format }) => {
    const key = columnKey(model, format);
    const able = canAsk({ model, format });
    const box = h("input", {
      type: "checkbox",
      id: `c-${key}`,
      checked: able && !state.hidden.includes(key),
      disabled: !able,
      on: {
        change: () => {
          state.hidden = box.checked ? state.hidden.filter((one) => one !== key) : [...state.hidden, key];
          changed();
        },
      },
    });
    return h(
      "label",
      { class: "choice", for: `c-${key}` },
      box,
      h("span", { class: `dot k-${modelOf(model)?.kind ?? "unknown"}` }),
      h("span", { class: "name" }, model),
      h(
        "span",
        { class: "quiet" },
        able ? formatName(format) : format === OWN ? "has no template" : `cannot write ${formatName(format)}`,
      ),
    );
  });
  return h("details", { class: "columns" }, h("summary", {}, `Columns (${columns().filter(canAsk).length})`), rows);
}

export const onEdit = { hear: () => {} };

// An instruction in the place of a system text: it is written elsewhere.
const instructed = (one) =>
  h(
    "div",
    { class: "instructed", id: `s-${one.id}`, tabindex: -1 },
    one.instruction.name,
    h("small", {}, "instruction"),
    button("Edit", () => onEdit.hear(one.instruction), { class: "plain small" }),
  );

function systems() {
  const rows = state.systems.map((one, index) => {
    const text = h("textarea", {
      id: `s-${one.id}`,
      rows: 2,
      placeholder: "No system text",
      "aria-label": `System text ${index + 1}`,
      on: {
        input: () => {
          one.text = text.value;
          grow(text);
          changed();
        },
      },
    });
    text.value = one.text;
    queueMicrotask(() => grow(text));
    const away =
      (state.systems.length > 1 || one.instruction) &&
      button(
        icon("close"),
        () => {
          state.systems.splice(index, 1);
          if (!state.systems.length) state.systems.push({ id: newId(), text: "" });
          changed(true);
          $(`s-${state.systems[Math.max(0, index - 1)].id}`)?.focus();
        },
        { class: "plain small", "aria-label": `Take system text ${index + 1} away` },
      );
    return h(
      "div",
      { class: "system" },
      state.systems.length > 1 && h("span", { class: "num" }, String(index + 1)),
      one.instruction ? instructed(one) : text,
      away,
    );
  });
  return part(
    "System texts",
    known.policy && h("p", { class: "quiet" }, `The server puts every conversation under ${known.policy}.`),
    rows,
    state.systems.length < 8 &&
      button(
        "Add another",
        () => {
          const id = newId();
          state.systems.push({ id, text: "" });
          changed(true);
          $(`s-${id}`).focus();
        },
        { class: "plain small" },
      ),
  );
}

export function grow(text) {
  text.style.height = "auto";
  if (text.scrollHeight) text.style.height = `${Math.min(text.scrollHeight + 2, 0.4 * innerHeight)}px`; // 0 while hidden
}

const SAMPLING = [
  ["temperature", "Temperature", 0, 2, 0.05, "0 is greedy: the likeliest token, always"],
  ["top_p", "Top-p", 0.05, 1, 0.05],
  ["top_k", "Top-k", 0, 200, 1, "0: off"],
  ["min_p", "Min-p", 0, 1, 0.01, "0: off"],
  ["repetition_penalty", "Repetition penalty", 0.5, 2, 0.05, "1: off"],
  ["max_tokens", "Longest answer", 1, 8192, 1],
  ["seed", "Seed", 0, 2 ** 31 - 1, 1],
];
const DRAWN = ["top_p", "top_k", "min_p", "seed"]; // of no effect where nothing is drawn

function sampling() {
  const given = state.sampling;
  const greedy = given.temperature === 0;
  const controls = SAMPLING.map(([name, label, min, max, step, note]) => {
    const off = greedy && DRAWN.includes(name);
    const box = h("input", {
      type: "number",
      id: `x-${name}`,
      min,
      max,
      step,
      inputmode: "decimal",
      value: String(given[name]),
      disabled: off,
      title: off ? "Of no effect at temperature 0" : note,
      on: {
        change: () => {
          const value = Number(box.value);
          const good =
            box.value.trim() !== "" &&
            Number.isFinite(value) &&
            value >= min &&
            value <= max &&
            (step !== 1 || Number.isInteger(value));
          box.setAttribute("aria-invalid", String(!good));
          box.setCustomValidity(good ? "" : `${label}: ${min} to ${max}`);
          if (!good) {
            box.reportValidity();
            return;
          }
          given[name] = value;
          changed(name === "temperature");
        },
      },
    });
    return h("div", { class: `knob ${off ? "off" : ""}` }, h("label", { for: box.id, title: note }, label), box);
  });
  const stop = h("textarea", {
    id: "x-stop",
    rows: 1,
    placeholder: "none",
    on: {
      input: () => {
        given.stop = stop.value;
        grow(stop);
        changed();
      },
    },
  });
  stop.value = given.stop;
  return part(
    "Sampling",
    h("div", { class: "knobs" }, controls),
    field("Stop at", stop, "one text per line; \\n is a new line"),
  );
}

function view() {
  const box = h("input", {
    type: "checkbox",
    id: "colour",
    checked: state.colour,
    on: {
      change: () => {
        state.colour = box.checked;
        changed();
      },
    },
  });
  return part(
    "Show",
    h(
      "label",
      { class: "choice", for: "colour" },
      box,
      h("span", { class: "name" }, "New answers in the colours of probability"),
    ),
  );
}

// What a model sees of the instruction: its text coloured by block, with the tokens of each.

import { colour } from "./blocks.js";
import { $, fill, h, number } from "./dom.js";
import { doc, formatsOf, look, setSource } from "./instruct.js";
import { formatName, known, modelOf } from "./known.js";
import { grow } from "./setup.js";
import { visible } from "./tokens.js";

const NOTATIONS = { "": "as written", markdown: "Markdown", xml: "XML", label: "labels", plain: "plain" };
const PLACES = { "": "as the file says", system: "system text", user: "first message" };

export function drawPreview(box) {
  if (!box || !look.found) return;
  if (!box.querySelector(".choices") || box.dataset.key !== key()) {
    const focus = document.activeElement?.id;
    box.dataset.key = key();
    fill(
      box,
      h("h3", {}, "What the model sees"),
      choices(),
      given(),
      h("div", {
        id: "compiled",
        class: "compiled text",
        tabindex: 0,
        role: "region",
        "aria-label": "The compiled text",
      }),
      h("div", { id: "weights" }),
      h("div", { id: "preview-notes" }),
    );
    if (focus && box.querySelector(`[id="${focus}"]`)) $(focus).focus();
  }
  text();
}

// What the controls depend on: drawn anew only where it changes, so that who types is not disturbed.
const key = () =>
  JSON.stringify([
    known.models.map((one) => one.id),
    doc().id,
    doc().model,
    doc().format,
    look.found.inputs.map(({ example, ...rest }) => rest),
  ]);

function pick(id, label, names, value, hear) {
  const box = h(
    "select",
    { id, on: { change: () => hear(box.value) } },
    Object.entries(names).map(([name, shown]) => h("option", { value: name }, shown)),
  );
  box.value = value;
  return h("div", {}, h("label", { for: id }, label), box);
}

function choices() {
  const current = doc();
  const set = (name) => (value) => {
    current[name] = value;
    setSource(current.source);
  };
  const models = Object.fromEntries([...known.models.map((one) => [one.id, one.id]), ["", "messages alone"]]);
  return h(
    "div",
    { class: "choices" },
    pick("pv-model", "Model", models, current.model, set("model")),
    pick(
      "pv-format",
      "Format",
      Object.fromEntries(formatsOf(current.model).map((id) => [id, formatName(id)])),
      current.format,
      set("format"),
    ),
    pick("pv-notation", "Notation", NOTATIONS, current.notation, set("notation")),
    pick("pv-place", "Stands in", PLACES, current.placement, set("placement")),
  );
}

function given() {
  const inputs = look.found.inputs;
  if (!inputs.length) return null;
  return h(
    "div",
    { class: "given" },
    inputs.map((one) => {
      const box = h("textarea", {
        id: `in-${one.name}`,
        rows: 1,
        placeholder: one.example || one.kind,
        on: {
          input: () => {
            if (box.value) doc().values[one.name] = box.value;
            else delete doc().values[one.name];
            grow(box);
            setSource(doc().source, true);
          },
        },
      });
      box.value = doc().values[one.name] ?? "";
      queueMicrotask(() => grow(box));
      const told = [one.typed && "what is typed", !one.required && !one.typed && "optional"].filter(Boolean);
      return h(
        "div",
        { class: one.typed ? "typed" : "" },
        h("label", { for: box.id, title: one.about || one.kind }, one.name, told.length > 0 && ` · ${told.join(", ")}`),
        box,
      );
    }),
  );
}

function text() {
  const { found } = look;
  const { preview, problems } = found;
  $("compiled").classList.toggle("stale", look.of !== doc().source);
  if (!preview) {
    fill(
      $("compiled"),
      h(
        "div",
        { class: "error" },
        h("b", {}, problems.length ? "It does not compile for this model." : "It cannot be read yet."),
        problems.map((one) => h("p", {}, `${one.what} → ${one.mend}`)),
        !problems.length && h("p", {}, "The errors beside the blocks say why."),
      ),
    );
    fill($("weights"));
    fill($("preview-notes"));
    return;
  }
  let role = "";
  fill(
    $("compiled"),
    preview.stretches.map((one) => {
      const head = one.role !== role && one.role ? h("span", { class: "turn" }, one.role) : null;
      role = one.role;
      const what = [
        one.block || (one.role ? "between blocks" : "chat template"),
        one.input && `value of ${one.input}`,
      ].filter(Boolean);
      return [
        head,
        h(
          "span",
          {
            class: `seg ${one.block ? colour(one.block) : "frame"} ${one.input ? "value" : ""}`,
            title: what.join(": "),
            data: { block: one.block },
          },
          visible(one.text),
        ),
      ];
    }),
  );
  weights(preview, found);
  notes(preview);
}

function weights(preview, found) {
  const names = found.blocks.map((one) => one.id).filter((id) => preview.stretches.some((one) => one.block === id));
  const extra = [...new Set(preview.stretches.map((one) => one.block))].filter((id) => id && !names.includes(id));
  const most = Math.max(1, ...Object.values(preview.tokens));
  const lit = (id, on) => {
    for (const one of $("compiled").querySelectorAll(".seg"))
      if (one.dataset.block === id) one.classList.toggle("lit", on);
  };
  const row = (id, name) => {
    const bar = h("i");
    bar.style.width = `${(100 * (preview.tokens[id] ?? 0)) / most}%`;
    const hear = { mouseenter: () => lit(id, true), mouseleave: () => lit(id, false) };
    return [
      h("span", { on: hear }, h("i", { class: `swatch ${id ? colour(id) : "o-template"}` }), name),
      h("span", { class: "n" }, preview.total ? number(preview.tokens[id] ?? 0) : ""),
      preview.total ? h("span", { class: "bar" }, bar) : h("span"),
    ];
  };
  const context = modelOf(doc().model)?.context;
  fill(
    $("weights"),
    h(
      "div",
      { class: "weights", "aria-label": "Tokens of each block" },
      [...names, ...extra].map((id) => row(id, id)),
      preview.total && row("", "chat template"),
      preview.total && [
        h("b", {}, "all"),
        h("b", { class: "n" }, number(preview.total)),
        h("span", { class: "quiet" }, context ? `of ${number(context)}` : ""),
      ],
    ),
  );
}

function notes(preview) {
  const told = [
    ...preview.notes,
    ...preview.quoted.map((one) => `quoted, as it looked like structure: ${one}`),
    preview.empty.length && `empty with these values, and left out: ${preview.empty.join(", ")}`,
    preview.stop.length && `It stops at ${preview.stop.map((one) => JSON.stringify(one)).join(", ")}.`,
  ].filter(Boolean);
  fill(
    $("preview-notes"),
    told.map((one) => h("p", { class: "note" }, one)),
  );
}

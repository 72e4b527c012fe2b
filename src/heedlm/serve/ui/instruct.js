// The instruction that is open: its text, and what the server says of it while it is written.

import { ApiError, get, post } from "./api.js";
import { drawBlocks, drawFindings } from "./blocks.js";
import { $, button, dialog, field, fill, h, say } from "./dom.js";
import { download } from "./export.js";
import { known, modelOf } from "./known.js";
import { drawPreview } from "./preview.js";
import { OWN, PLAIN, newId, save, state } from "./state.js";

const PAUSE = 250; // ms without a key before the server is asked
const NAME = /^[A-Za-z0-9][\w\-]{0,63}$/;

export const files = { folder: "", saved: [], library: [], kinds: [], notations: [], starter: "", ready: false };
export const onInstruction = { used: () => {}, changed: () => {} };
export const look = { found: null, of: "", busy: false, error: null }; // what the server said last, and of which text

export const doc = () => state.instruction;

export async function loadFiles() {
  Object.assign(files, await get("/ui/api/instructions"), { ready: true });
  if (!doc().source) begin("my-instruction", files.starter);
}

export function begin(name, source) {
  Object.assign(doc(), { id: newId(), name, source: source.replaceAll("\r\n", "\n"), kept: source, values: {} });
  Object.assign(look, { found: null, of: "" });
  save();
}

// Another text: from a key, a mend, the file as a whole. `soon`: after a pause; else at once.
export function setSource(source, soon = false) {
  doc().source = source;
  for (const system of state.systems) if (system.instruction?.id === doc().id) system.instruction = snapshot();
  save();
  onInstruction.changed();
  ask(soon ? PAUSE : 0);
}

export const snapshot = () => {
  const { id, name, source, values, notation, placement } = doc();
  return { id, name, source, values: { ...values }, notation, placement };
};

export function formatsOf(id) {
  const found = modelOf(id);
  return !found || found.device === "elsewhere" ? [OWN] : [...(found.formats ?? []), PLAIN];
}

// A model that is there, and a format that it can be asked in.
function settle() {
  const now_ = doc();
  const best = known.models.find((one) => one.formats?.includes(OWN)) ?? known.models[0];
  if (now_.model !== "" && !modelOf(now_.model)) now_.model = best?.id ?? "";
  if (!formatsOf(now_.model).includes(now_.format)) now_.format = formatsOf(now_.model)[0];
}

let timer = 0;
let asked = 0;

export function ask(pause = 0) {
  clearTimeout(timer);
  timer = setTimeout(now, pause);
  $("view-instruction").dataset.state = "asking";
}

async function now() {
  const number = ++asked;
  settle();
  const { source, name, values, notation, placement, model, format } = doc();
  const body = { source, values, notation, placement, model, format };
  if (NAME.test(name)) body.name = name;
  try {
    const found = await post("/ui/api/instructions/look", body);
    if (number !== asked) return;
    Object.assign(look, { found, of: source, error: null });
    doc().typed = found.inputs.find((one) => one.typed)?.name ?? "";
  } catch (error) {
    if (number !== asked) return;
    if (!(error instanceof ApiError)) throw error;
    look.error = error;
  }
  drawLooked();
}

function drawLooked() {
  if (!$("ws-status")) return; // asked for by another view
  drawStatus();
  if (doc().view === "blocks") drawBlocks();
  else drawFindings($("file-findings"), look.found?.findings ?? []);
  drawPreview($("preview"));
  if (look.of === doc().source || look.error) $("view-instruction").dataset.state = "done";
}

const plural = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

function drawStatus() {
  const { found, error } = look;
  if (error) {
    fill($("ws-status"), h("span", { class: "error-count" }, error.message, " ", error.mend));
    return;
  }
  if (!found) return;
  const count = (severity) => found.findings.filter((one) => one.severity === severity).length;
  const [errors, warnings, hints] = ["error", "warning", "info"].map(count);
  const over = found.budget && found.preview?.total > found.budget;
  fill(
    $("ws-status"),
    h("span", {}, plural(found.blocks.length, "block")),
    errors > 0 && h("span", { class: "error-count" }, plural(errors, "error")),
    warnings > 0 && h("span", { class: "warning-count" }, plural(warnings, "warning")),
    hints > 0 && h("span", {}, plural(hints, "hint")),
    !errors && !warnings && !hints && h("span", { class: "good" }, "nothing to mend"),
    found.preview?.total &&
      h(
        "span",
        { class: over ? "warning-count" : "" },
        plural(found.preview.total, "token"),
        found.budget ? ` of ${found.budget}` : "",
      ),
    doc().source !== doc().kept && h("span", {}, "not saved"),
  );
}

// The view ------------------------------------------------------------------------------------------------------------

export function drawInstruction() {
  if (!files.ready) return;
  const name = h("input", {
    class: "name",
    id: "ws-name",
    value: doc().name,
    "aria-label": "Name of the file",
    spellcheck: "false",
    on: {
      input: () => {
        name.setAttribute("aria-invalid", String(!NAME.test(name.value)));
        if (!NAME.test(name.value)) return;
        doc().name = name.value;
        setSource(doc().source, true);
      },
    },
  });
  const way = (view, label) =>
    button(label, () => switchTo(view), { "aria-pressed": String(doc().view === view), id: `ws-${view}` });
  fill(
    $("view-instruction"),
    h(
      "div",
      { class: "ws-head" },
      name,
      h(
        "div",
        { class: "segmented", role: "group", "aria-label": "Edit as" },
        way("blocks", "Blocks"),
        way("file", "File"),
      ),
      button("Open…", openDialog, { class: "plain", id: "ws-open", "aria-haspopup": "dialog" }),
      button("Download", () => download(`${doc().name}.prompty`, "text/plain", doc().source), { class: "plain" }),
      button("Save…", saveDialog, { class: "plain", id: "ws-save", "aria-haspopup": "dialog" }),
      button("Use in the grid", use, {
        class: "main",
        id: "ws-use",
        title: "Behind the questions of the grid, as a system text",
      }),
    ),
    h("p", { class: "ws-status", id: "ws-status", role: "status" }),
    h(
      "div",
      { class: "ws" },
      doc().view === "blocks" ? h("div", { id: "blocks" }) : fileBox(),
      h("section", { class: "preview", id: "preview", "aria-label": "What the model sees" }),
    ),
  );
  if (look.found) drawLooked();
  ask();
}

function switchTo(view) {
  doc().view = view;
  save();
  drawInstruction();
  $(`ws-${view}`).focus();
}

function fileBox() {
  const text = h("textarea", {
    class: "file-text",
    id: "file-text",
    "aria-label": "The file",
    spellcheck: "false",
    on: { input: () => setSource(text.value, true) },
  });
  text.value = doc().source;
  return h("div", {}, text, h("div", { id: "file-findings" }));
}

export function toLine(line) {
  const text = $("file-text");
  if (!text) return;
  const lines = text.value.split("\n");
  const start = lines.slice(0, line - 1).reduce((sum, one) => sum + one.length + 1, 0);
  text.focus();
  text.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
  text.scrollTop = Math.max(0, (line - 6) * 20);
}

function use() {
  const held = state.systems.find((one) => one.instruction?.id === doc().id);
  const blank = state.systems.find((one) => !one.instruction && !one.text.trim());
  if (held) held.instruction = snapshot();
  else if (blank) Object.assign(blank, { text: "", instruction: snapshot() });
  else state.systems.push({ id: newId(), text: "", instruction: snapshot() });
  save();
  onInstruction.used();
  say(`${doc().name} stands behind the questions of the grid.`);
}

// Files -----------------------------------------------------------------------------------------------------------------

function openDialog() {
  const row = (one, origin) =>
    h(
      "li",
      {},
      button([h("b", {}, one.name), h("span", {}, one.about)], () => open(one.name, origin, box), { class: "file" }),
    );
  const pick = h("input", {
    type: "file",
    accept: ".prompty,.md,.txt",
    on: {
      change: async () => {
        const file = pick.files[0];
        if (!file) return;
        const name = file.name.replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9_-]+/g, "-");
        took(NAME.test(name) ? name : "my-instruction", await file.text(), box);
      },
    },
  });
  const list = (title, found, origin) =>
    found.length > 0 && [
      h("h3", {}, title),
      h(
        "ul",
        { class: "examples" },
        found.map((one) => row(one, origin)),
      ),
    ];
  const box = dialog(
    "Open an instruction",
    h(
      "div",
      { class: "kept" },
      doc().source !== doc().kept &&
        h("p", { class: "quiet" }, `${doc().name} has changes that are not saved; opening another one forgets them.`),
      list(`Saved in ${files.folder}`, files.saved, "folder"),
      list("That come with heed", files.library, "library"),
      field("A file of yours", pick),
      h(
        "div",
        { class: "row end" },
        button("A new one", () => took("my-instruction", files.starter, box), { class: "plain" }),
      ),
    ),
    { wide: true },
  );
  box.querySelector("button.file")?.focus();
}

async function open(name, origin, box) {
  try {
    took(name, (await post("/ui/api/instructions/open", { name, origin })).source, box);
  } catch (error) {
    box.append(h("p", { class: "error", role: "alert" }, error.message, " ", error.mend));
  }
}

function took(name, source, box) {
  begin(name, source);
  box?.close();
  drawInstruction();
  $("ws-name").focus();
}

export function edit(instruction) {
  const { id, name, source, values, notation, placement } = instruction;
  if (doc().id !== id) begin(name, source);
  Object.assign(doc(), { id, name, source, values: { ...values }, notation, placement });
  save();
}

function saveDialog() {
  const name = h("input", { value: doc().name, required: true, pattern: NAME.source, spellcheck: "false" });
  const told = h("div", { "aria-live": "polite" });
  const keep = async (replace) => {
    try {
      const found = await post("/ui/api/instructions/save", { name: name.value, source: doc().source, replace });
      Object.assign(doc(), { name: found.name, kept: doc().source });
      await loadFiles();
      save();
      box.close();
      drawInstruction();
      say(`Saved as ${found.where}`);
    } catch (error) {
      const there = error.message.includes("is there already");
      fill(
        told,
        h("p", { class: "error", role: "alert" }, error.message, " ", error.mend),
        there &&
          h(
            "div",
            { class: "row end" },
            button("Write over it", () => keep(true), { class: "plain", id: "ws-over" }),
          ),
      );
    }
  };
  const form = h(
    "form",
    {
      on: {
        submit: (event) => {
          event.preventDefault();
          keep(false);
        },
      },
    },
    field(
      "Name",
      name,
      `A file in ${files.folder}, where the server runs: heed chat MODEL --instruction ${files.folder}/NAME.prompty`,
    ),
    told,
    h("div", { class: "row end" }, h("button", { class: "main" }, "Save")),
  );
  const box = dialog("Save the instruction", form);
}

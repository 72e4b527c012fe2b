// The page as a whole: what is loaded, where it is shown, and what the keys do.

import { ApiError, on } from "./api.js";
import { isRunning, onRunning, stopAll } from "./ask.js";
import { drawCases, loadCases } from "./cases.js";
import { $, button, dialog, field, fill, h, icon, say } from "./dom.js";
import { exportDialog } from "./export.js";
import { askAll, drawRounds, showEmpty } from "./grid.js";
import { drawInstruction, edit, loadFiles, onInstruction } from "./instruct.js";
import { canAsk, known, learn } from "./known.js";
import { drawMatrix } from "./matrix.js";
import { drawSetup, grow, onEdit, onSetup } from "./setup.js";
import { columns, key, save, saveNow, state } from "./state.js";
import { loadVotes } from "./votes.js";

const VIEWS = ["grid", "cases", "votes", "instruction", "matrix"];
const THEMES = { auto: "as the system", light: "light", dark: "dark" };
const PROBE = 3000; // ms between looks for a server that is gone

function theme() {
  const root = document.documentElement;
  if (state.theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = state.theme;
  const name = THEMES[state.theme];
  $("theme").replaceChildren(icon(state.theme));
  $("theme").setAttribute("aria-label", `Colours: ${name}`);
  $("theme").title = `Colours: ${name}`;
}

function show(view) {
  state.view = view;
  for (const name of VIEWS) {
    $(`view-${name}`).hidden = name !== view;
    $(`tab-${name}`).setAttribute("aria-selected", String(name === view));
    $(`tab-${name}`).tabIndex = name === view ? 0 : -1;
  }
  $("composer").hidden = view !== "grid";
  document.body.dataset.view = view;
  if (document.body.classList.contains("setup-shown")) $("setup-open").click();
  if (view === "instruction") drawInstruction();
  if (view === "matrix") drawMatrix();
  if (view === "cases") drawCases();
  if (view === "votes" && known.ready)
    loadVotes().catch((error) => fill($("view-votes"), h("p", { class: "error" }, error.message)));
  save();
}

function note() {
  const count = columns().filter(canAsk).length * state.systems.length;
  $("composer-note").textContent = known.ready
    ? count
      ? `${count} answer${count > 1 ? "s" : ""}`
      : "nobody is asked: choose a model and a format"
    : "";
  $("send").disabled = !count;
  $("stop").hidden = !isRunning();
}

function send() {
  const text = $("question").value;
  if (!text.trim() || $("send").disabled) return;
  $("question").value = state.draft = "";
  grow($("question"));
  askAll(text);
}

// Trouble with the server -------------------------------------------------------------------------------------------

let probing = 0;

function gone() {
  $("health").textContent = "offline";
  $("health").dataset.state = "gone";
  fill(
    $("banner"),
    h("b", {}, "The server does not answer."),
    " Nothing is lost; this page tries again every few seconds.",
  );
  $("banner").hidden = false;
  if (!probing) probing = setInterval(probe, PROBE);
}

async function probe() {
  try {
    if (!(await fetch("/health", { cache: "no-store" })).ok) return;
  } catch {
    return;
  }
  back();
  await load(); // it may serve other models now
}

function back() {
  if (!probing) return;
  clearInterval(probing);
  probing = 0;
  $("banner").hidden = true;
  connected();
  say("The server answers again.");
}

function connected() {
  const device = new Set(known.models.map((one) => one.device).filter(Boolean));
  $("health").textContent = known.ready
    ? `${known.models.length} model${known.models.length === 1 ? "" : "s"}${device.size ? ` on ${[...device].join(", ")}` : ""}`
    : "";
  $("health").dataset.state = "good";
}

let asking = null;

function locked() {
  if (asking) return;
  const input = h("input", { type: "password", required: true, autocomplete: "off", spellcheck: "false" });
  const form = h(
    "form",
    {
      on: {
        submit: async (event) => {
          event.preventDefault();
          key.set(input.value.trim());
          asking.close();
          $("banner").hidden = true;
          await load();
        },
      },
    },
    field(
      "Key",
      input,
      key.get()
        ? "The last one was not taken. Kept in this tab only."
        : "One of those that heed serve was started with. Kept in this tab only.",
    ),
    h("div", { class: "row end" }, h("button", { class: "main" }, "Open")),
  );
  asking = dialog("This server asks for a key", form, {
    onClose: () => {
      asking = null;
      if (known.ready || probing) return;
      fill($("banner"), h("b", {}, "This server asks for a key."), " ", button("Give one", locked, { class: "plain" }));
      $("banner").hidden = false;
    },
  });
}

async function load() {
  try {
    await learn();
    connected();
    drawSetup();
    drawRounds();
    note();
    await loadCases();
    await loadFiles();
    if (state.view === "instruction") drawInstruction();
    if (state.view === "matrix") drawMatrix();
    if (state.view === "votes") await loadVotes();
  } catch (error) {
    const shown = [401, 0].includes(error.status); // by a window of its own, or already
    if (!shown)
      fill($("banner"), h("b", {}, "This page could not be set up."), ` ${error.message} ${error.mend ?? ""}`);
    $("banner").hidden = shown && !probing;
    if (!(error instanceof ApiError)) throw error;
  }
}

// Keys ----------------------------------------------------------------------------------------------------------------

const KEYS = [
  ["Enter", "ask (Shift+Enter: a new line)"],
  ["/", "to the question"],
  ["Esc", "stop all answers; close a window"],
  ["Alt+N", "a fresh start"],
  ["1 to 5", "answers, cases, votes, instruction, matrix"],
  ["← ↑ ↓ →", "from answer to answer; from token to token"],
  ["T", "tokens of the answer, with probabilities"],
  ["P", "what the model saw"],
  ["C", "compare with another answer"],
  ["F", "fix the answer"],
  ["+ −", "vote"],
  ["N", "a note"],
  ["A", "ask this one again"],
];

function help() {
  dialog(
    "Keys",
    h(
      "div",
      {},
      h(
        "dl",
        { class: "keys" },
        KEYS.flatMap(([name, what]) => [h("dt", {}, h("kbd", {}, name)), h("dd", {}, what)]),
      ),
      h(
        "p",
        { class: "quiet" },
        "Letters act on the answer that has the focus. What you write stays in this browser; fixes, cases and votes go to files beside the server.",
      ),
    ),
  );
}

const typing = (node) => node.closest?.("input, textarea, select, dialog");

function keys(event) {
  if (event.altKey && event.key.toLowerCase() === "n") {
    event.preventDefault();
    fresh();
  }
  if (event.key === "Escape" && isRunning() && !document.querySelector("dialog")) stopAll();
  if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view) show(view);
  if (event.key === "?") help();
  if (event.key === "/") {
    event.preventDefault();
    show("grid");
    $("question").focus();
  }
}

function fresh() {
  if (!state.rounds.length) return;
  const clear = () => {
    stopAll();
    state.rounds = [];
    saveNow();
    drawRounds();
    note();
  };
  const box = dialog(
    "A fresh start?",
    h(
      "div",
      {},
      h(
        "p",
        {},
        `${state.rounds.length} question(s) and their answers go from this page. Fixes, cases and votes stay in their files.`,
      ),
      h(
        "div",
        { class: "row end" },
        button("Export first", exportDialog, { class: "plain" }),
        button(
          "Start afresh",
          () => {
            clear();
            box.close();
            $("question").focus();
          },
          { class: "main" },
        ),
      ),
    ),
  );
  box.querySelector(".main").focus();
}

function wire() {
  const question = $("question");
  question.value = state.draft;
  question.addEventListener("input", () => {
    state.draft = question.value;
    grow(question);
    save();
  });
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  $("history").checked = state.history;
  $("history").addEventListener("change", () => {
    state.history = $("history").checked;
    save();
  });
  $("stop").addEventListener("click", stopAll);
  $("fresh").addEventListener("click", fresh);
  $("help").addEventListener("click", help);
  $("export").addEventListener("click", exportDialog);
  $("theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    state.theme = names[(names.indexOf(state.theme) + 1) % names.length];
    theme();
    save();
  });
  for (const name of VIEWS) $(`tab-${name}`).addEventListener("click", () => show(name));
  document.querySelector('[role="tablist"]').addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const next = VIEWS[(VIEWS.indexOf(state.view) + move + VIEWS.length) % VIEWS.length];
    show(next);
    $(`tab-${next}`).focus();
  });
  const setup = $("setup-open");
  setup.addEventListener("click", () => {
    const open = document.body.classList.toggle("setup-shown");
    setup.setAttribute("aria-expanded", String(open));
    setup.textContent = open ? "Done" : "Setup";
  });
  document.addEventListener("keydown", keys);
}

on("gone", gone);
on("back", back);
on("locked", locked);
onRunning.hear = note;
onSetup.hear = () => {
  note();
  showEmpty();
  if (state.view === "cases") drawCases();
  if (state.view === "matrix") drawMatrix();
};
onEdit.hear = (instruction) => {
  edit(instruction);
  show("instruction");
};
onInstruction.used = () => {
  drawSetup();
  note();
  showEmpty();
  show("grid");
  $("question").focus();
};
onInstruction.changed = drawSetup;
theme();
wire();
show(VIEWS.includes(state.view) ? state.view : "grid");
await load();
grow($("question"));
document.body.dataset.ready = "1";

// One answer: its text as it comes, and what can be done with it.

import { post } from "./api.js";
import { ask, places, stop, systemText } from "./ask.js";
import { showDiff } from "./diff.js";
import { button, copy, dialog, field, fill, h, icon, number, say } from "./dom.js";
import { fixDialog } from "./fix.js";
import { formatName, modelOf } from "./known.js";
import { showSeen } from "./seen.js";
import { PLAIN, cellKey, save, state } from "./state.js";
import { hideTip, legend, perplexity, tokenNode, wireTokens } from "./tokens.js";

const views = new WeakMap(); // cell -> its view

export const nameOf = (round, system, column) => {
  const number_ = round.systems.length > 1 ? ` · system ${round.systems.indexOf(system) + 1}` : "";
  return `${column.model} · ${formatName(column.format)}${number_}`;
};

export function cellNode(round, system, column) {
  const key = cellKey(system.id, column.model, column.format);
  const cell = round.cells[key];
  const node = h("article", {
    class: "cell",
    tabindex: 0,
    data: { key, status: cell.status },
    "aria-label": nameOf(round, system, column),
  });
  const text = h("div", { class: "text answer" });
  const view = {
    round,
    system,
    column,
    key,
    cell,
    node,
    text,
    foot: h("footer"),
    more: h("div", { class: "seen", hidden: true }),
    tools: h("span", { class: "cell-tools" }),
    written: 0,
    drawn: 0,
  };
  views.set(cell, view);
  const kind = modelOf(column.model)?.kind ?? "unknown";
  node.append(
    h(
      "header",
      {},
      h("span", { class: `dot k-${kind}`, title: KINDS[kind] }),
      h("b", {}, column.model),
      h("span", { class: "quiet" }, formatName(column.format)),
      round.systems.length > 1 &&
        h("span", { class: "quiet only-narrow" }, `system ${round.systems.indexOf(system) + 1}`),
      view.tools,
    ),
    text,
    view.foot,
    view.more,
  );
  wireTokens(text, () => cell.tokens);
  node.addEventListener("keydown", (event) => keys(event, view));
  redraw(view);
  if (cell.showSeen) openSeen(view, true);
  return node;
}

const KINDS = { base: "base model: continues text", instruct: "tuned model: answers", unknown: "model" };

export function start(round, system, column) {
  const view = views.get(round.cells[cellKey(system.id, column.model, column.format)]);
  return ask(round, view.key, (what) => (what === "text" ? soon(view) : redraw(view))).then(() => {
    for (const other of Object.values(round.cells)) offerToCompare(views.get(other));
  });
}

// The first answer that is there has nothing to be compared with, until there is a second one.
function offerToCompare(view) {
  const there = view.foot.querySelector('[data-act="compare"]');
  if (!there && ["done", "stopped"].includes(view.cell.status) && others(view).length > 1)
    view.foot.lastElementChild.replaceWith(actions(view));
}

// Drawn once for each picture of the screen, however many tokens came since the last one.
function soon(view) {
  if (view.awaited) return;
  view.awaited = true;
  requestAnimationFrame(() => {
    view.awaited = false;
    grow(view);
  });
}

// Add to what stands there what came since: no more is touched while an answer streams.
function grow(view) {
  const { cell, text } = view;
  const follows = text.scrollHeight - text.scrollTop - text.clientHeight < 40; // unless somebody scrolled up to read
  if (cell.showTokens && cell.tokens.length) {
    for (; view.drawn < cell.tokens.length; view.drawn++)
      view.flow.append(tokenNode(cell.tokens[view.drawn], view.drawn));
    if (follows) text.scrollTop = text.scrollHeight;
    return;
  }
  if (cell.reasoning && !view.thought) {
    redraw(view);
    return;
  }
  if (view.thought) view.thought.data = cell.reasoning;
  if (!view.flow) redraw(view);
  else if (view.plain.length) view.plain.appendData(cell.text.slice(view.written));
  else view.plain.data = said(cell);
  view.written = cell.text.length;
  if (follows) text.scrollTop = text.scrollHeight;
}

function redraw(view) {
  const { cell, text, node } = view;
  node.dataset.status = cell.status;
  view.thought = cell.reasoning ? document.createTextNode(cell.reasoning) : null;
  const tokens = cell.showTokens && cell.tokens.length > 0;
  view.plain = document.createTextNode(tokens ? "" : said(cell));
  view.flow = h("p", { class: tokens ? "tokens" : "" }, tokens ? cell.tokens.map(tokenNode) : view.plain);
  [view.written, view.drawn] = [cell.text.length, cell.tokens.length];
  const busy = ["waiting", "queued"].includes(cell.status);
  fill(
    text,
    view.thought && h("details", { class: "thought" }, h("summary", {}, "Reasoning"), h("p", {}, view.thought)),
    busy && !cell.text
      ? h(
          "p",
          { class: "quiet wait" },
          cell.status === "queued"
            ? `The server is full; again in ${cell.left} s`
            : h("span", { class: "dots", "aria-label": "Waiting" }),
        )
      : view.flow,
    cell.status === "done" &&
      !cell.text &&
      !cell.reasoning &&
      !tokens &&
      h("p", { class: "quiet" }, cell.calls ? "" : "(an empty answer: the model stopped at once)"),
    cell.calls?.length > 0 &&
      h(
        "pre",
        { class: "calls" },
        cell.calls.map((one) => `${one.function?.name}(${one.function?.arguments})`).join("\n"),
      ),
    cell.status === "error" &&
      h(
        "div",
        { class: "error", role: "alert" },
        h("b", {}, cell.error.message),
        cell.error.mend && h("p", {}, cell.error.mend),
      ),
    tokens && cell.status === "done" && [legend(), h("p", { class: "quiet" }, summary(cell))],
  );
  const act = (sign, name, hear) => button(icon(sign), hear, { class: "plain small", title: name, "aria-label": name });
  const over = ["done", "stopped", "error"].includes(cell.status);
  fill(
    view.tools,
    over && [
      act("again", "Ask this one again", () => start(view.round, view.system, view.column)),
      cell.text && copy(cell.text, "copy"),
    ],
  );
  fill(view.foot, h("div", { class: "row facts-row" }, facts(cell), opinion(view)), actions(view));
}

// White space before the first word is not shown; among the tokens it is.
const said = (cell) => cell.text.trimStart();

function summary(cell) {
  const value = perplexity(cell.tokens);
  if (value === null) return "This server gives no probabilities.";
  const least = cell.tokens.reduce((low, one) => (one.lp < low.lp ? one : low));
  return `Perplexity ${number(value, 2)}; least sure of “${least.t.trim() || "white space"}” (${number(100 * Math.exp(least.lp), 1)} %).`;
}

function facts(cell) {
  const found = [];
  const tokens = cell.usage?.completion ?? cell.tokens.length;
  if (cell.status === "stopped") found.push("stopped");
  if (cell.status === "done") {
    if (tokens) found.push(`${number(tokens)} token${tokens === 1 ? "" : "s"}`);
    if (cell.total - cell.first > 100 && tokens > 1)
      found.push(`${number((tokens - 1) / ((cell.total - cell.first) / 1000))}/s`);
    if (cell.finish === "length") found.push(h("span", { class: "warn" }, "cut"));
  }
  const ending = cell.finish === "length" ? "It was cut at the longest answer that is allowed" : "It ended by itself";
  const title = cell.status === "done" ? `${ending}; the first token came after ${number(cell.first ?? 0)} ms.` : null;
  return h(
    "p",
    { class: "facts", title },
    found.flatMap((one, index) => (index ? [" · ", one] : [one])),
  );
}

function actions(view) {
  const { cell } = view;
  if (["waiting", "queued", "streaming"].includes(cell.status))
    return h(
      "div",
      { class: "actions" },
      button("Stop", () => stop(cell), { class: "plain small" }),
    );
  const act = (label, hear, props = {}) => button(label, hear, { class: "plain small", ...props });
  const again = act("Try again", () => start(view.round, view.system, view.column), { class: "plain small strong" });
  const prompt = act("Prompt", () => openSeen(view), {
    "aria-expanded": String(Boolean(cell.showSeen)),
    title: "What the model saw (P)",
    data: { act: "prompt" },
  });
  if (cell.status === "error") return h("div", { class: "actions" }, again, prompt);
  return h(
    "div",
    { class: "actions" },
    cell.tokens.length > 0 &&
      act("Tokens", () => toggleTokens(view), {
        "aria-pressed": String(Boolean(cell.showTokens)),
        title: "Probability of each token (T)",
        data: { act: "tokens" },
      }),
    prompt,
    others(view).length > 1 &&
      act("Compare", () => compare(view), {
        title: "Beside another answer, word by word (C)",
        data: { act: "compare" },
      }),
    act(cell.fixed ? ["Fixed ", icon("done")] : "Fix", () => fix(view), {
      title: "Write what it should have said (F)",
      class: "plain small strong",
    }),
  );
}

function opinion(view) {
  const { cell } = view;
  if (!["done", "stopped"].includes(cell.status)) return null;
  const note = button(icon("note"), () => noteDialog(view), {
    class: "plain small",
    title: cell.note || "Write a note (N)",
    "aria-label": cell.note ? `Note: ${cell.note}` : "Write a note",
    "aria-pressed": String(Boolean(cell.note)),
  });
  return h("span", { class: "votes" }, thumb(view, 1, "Good", "good"), thumb(view, -1, "Bad", "bad"), note);
}

const thumb = (view, value, label, sign) =>
  button(icon(sign), () => vote(view, view.cell.vote === value ? 0 : value), {
    class: "plain small",
    "aria-label": label,
    title: label,
    "aria-pressed": String(view.cell.vote === value),
    data: { vote: value },
  });

async function vote(view, value, note = view.cell.note ?? "") {
  const { cell, column, system, round } = view;
  try {
    await post("/ui/api/votes", {
      answer: cell.id,
      model: column.model,
      format: column.format,
      system: systemText(system),
      question: round.user,
      reply: cell.text,
      sampling: round.sampling,
      vote: value,
      note,
    });
  } catch (error) {
    say(`The vote was not kept: ${error.message}`);
    dialog("The vote was not kept", h("p", {}, error.message, " ", error.mend));
    return;
  }
  const focused = document.activeElement?.dataset?.vote;
  Object.assign(cell, { vote: value, note });
  save();
  redraw(view);
  if (focused) view.node.querySelector(`[data-vote="${focused}"]`)?.focus();
  say(value > 0 ? "Voted good" : value < 0 ? "Voted bad" : "Vote taken back");
}

function noteDialog(view) {
  const text = h("textarea", { rows: 4 });
  text.value = view.cell.note ?? "";
  const box = dialog(
    "A note on this answer",
    h(
      "form",
      {
        on: {
          submit: (event) => {
            event.preventDefault();
            vote(view, view.cell.vote ?? 0, text.value.trim());
            box.close();
          },
        },
      },
      field("Note", text, "Kept with the answer in the file of votes."),
      h("div", { class: "row end" }, h("button", { class: "main" }, "Keep")),
    ),
  );
}

function toggleTokens(view) {
  hideTip();
  view.cell.showTokens = !view.cell.showTokens;
  redraw(view);
  view.node.querySelector('[data-act="tokens"]')?.focus();
  save();
}

function openSeen(view, keep = false) {
  const { cell, more } = view;
  cell.showSeen = keep || !cell.showSeen;
  more.hidden = !cell.showSeen;
  view.node.querySelector('[data-act="prompt"]')?.setAttribute("aria-expanded", String(cell.showSeen));
  if (cell.showSeen) showSeen(more, cell, view.column.model, view.column.format, save);
  save();
}

// Every answer of the round that is there, in the order of the grid.
function others(view) {
  return [...places(view.round)]
    .map(({ system, column }) => ({
      name: nameOf(view.round, system, column),
      cell: view.round.cells[cellKey(system.id, column.model, column.format)],
    }))
    .filter(({ cell }) => cell && (cell.status === "done" || cell.text))
    .map(({ name, cell }) => ({ name, text: cell.text, cell }));
}

function compare(view) {
  const answers = others(view);
  const own = answers.findIndex((one) => one.cell === view.cell);
  showDiff(answers, own, own === answers.length - 1 ? own - 1 : own + 1);
}

function fix(view) {
  const { cell, column } = view;
  const messages =
    column.format === PLAIN
      ? cell.messages.filter((one, index) => one.role === "system" || index === cell.messages.length - 1)
      : cell.messages;
  const onKept = () => {
    cell.fixed = true;
    redraw(view);
    save();
  };
  fixDialog({ messages, reply: cell.text, model: column.model, onKept });
}

function keys(event, view) {
  if (event.target !== view.node || event.ctrlKey || event.metaKey || event.altKey) return;
  const done = ["done", "stopped"].includes(view.cell.status);
  const act = {
    t: () => view.cell.tokens.length && toggleTokens(view),
    p: () => openSeen(view),
    c: () => done && others(view).length > 1 && compare(view),
    f: () => done && fix(view),
    n: () => done && noteDialog(view),
    "+": () => done && vote(view, view.cell.vote === 1 ? 0 : 1),
    "-": () => done && vote(view, view.cell.vote === -1 ? 0 : -1),
    a: () =>
      !["waiting", "queued", "streaming"].includes(view.cell.status) && start(view.round, view.system, view.column),
  }[event.key.toLowerCase()];
  if (act) {
    event.preventDefault();
    act();
    if (!document.querySelector("dialog")) view.node.focus();
    return;
  }
  const all = [...document.querySelectorAll(".cell")];
  const wide = view.round.columns.length;
  const to = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: wide, ArrowUp: -wide }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  all[all.indexOf(view.node) + to]?.focus();
}

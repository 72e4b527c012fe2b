// The blocks of an instruction as cards, each with its text, and beside it what the linter found there.

import { $, button, fill, h, icon, number } from "./dom.js";
import { doc, files, look, setSource, toLine } from "./instruct.js";
import { grow } from "./setup.js";

const WORDS = { error: "error", warning: "warning", info: "hint" };
const FLAGS = { frozen: "frozen", optional: "optional", repeat: "said twice", examples: "examples" };
const words = (kind) => kind.replaceAll("_", " ");
const HEADING = /^(#[ \t]+)(.*?)([ \t]*(?:\{#.*?#\})?[ \t]*)$/;
let parts = []; // of the file in turn: lines that stay, and the text of a block
let drawn = ""; // the shape of what is drawn: another one is drawn anew

const shape = (found) =>
  JSON.stringify(
    found.blocks.map(({ id, kind, title, role, flags, file, lines, text_lines }) => [
      ...[id, kind, title, role, flags, file],
      text_lines[0] - lines[0],
    ]),
  );

export const colour = (id) => {
  const at = (look.found?.blocks ?? []).findIndex((one) => one.id === id);
  return at < 0 ? "" : `b${at % 10}`;
};

export function drawBlocks() {
  const { found, of } = look;
  if (!found || !$("blocks")) return;
  const same = shape(found) === drawn && $("blocks").childElementCount > 0;
  if (!same || joined() !== doc().source) {
    if (of !== doc().source) return; // a newer answer is on its way
    const focus = focused();
    parts = dissected(of, found.blocks);
    drawn = shape(found);
    cards(found);
    refocus(focus, found);
  }
  for (const one of found.blocks) {
    const card = cardOf(one.id);
    if (!card) continue;
    drawFindings(
      card.querySelector(".findings-box"),
      found.findings.filter((it) => it.block === one.id),
    );
    const tokens = found.preview?.tokens?.[one.id];
    card.querySelector(".count").textContent = tokens ? `${number(tokens)} tokens` : "";
  }
  const rest = found.findings.filter((it) => !it.block || !cardOf(it.block));
  drawFindings($("file-findings"), rest);
}

const cardOf = (id) => [...document.querySelectorAll("#blocks .block")].find((one) => one.dataset.block === id);

// The file cut into what stays and what is typed. A block of another file is no part of it.
function dissected(source, blocks) {
  const lines = source.split("\n");
  const own = blocks.filter((one) => !one.file).sort((a, b) => a.text_lines[0] - b.text_lines[0]);
  const made = [];
  let at = 0;
  for (const one of own) {
    const [start, end] = one.text_lines;
    made.push({ lines: lines.slice(at, start), head: one.title ? one.lines[0] - at : -1 });
    made.push({ id: one.id, text: lines.slice(start, end).join("\n") });
    at = end;
  }
  made.push({ lines: lines.slice(at), head: -1 });
  return made;
}

const joined = () =>
  parts.flatMap((one) => (one.lines ? one.lines : one.text === "" ? [] : one.text.split("\n"))).join("\n");

const typed = () => setSource(joined(), true);

function cards(found) {
  let role = null;
  const nodes = [h("div", { id: "file-findings" })];
  for (const one of found.blocks) {
    if (one.role !== role) {
      role = one.role;
      nodes.push(h("p", { class: "turn-role" }, role));
    }
    nodes.push(card(one, found));
  }
  fill($("blocks"), nodes, adder());
}

function card(one, found) {
  const own = parts.findIndex((part) => part.id === one.id);
  const flags = one.flags.map((flag) => h("span", { class: "chip" }, FLAGS[flag]));
  const node = h(
    "article",
    { class: "block", data: { block: one.id }, "aria-label": `Block ${one.title || one.kind}` },
    h("span", { class: `stripe ${colour(one.id)}` }),
    h(
      "div",
      { class: "block-body" },
      h(
        "header",
        {},
        titleBox(one, own),
        flags,
        one.title.toLowerCase() !== words(one.kind) &&
          h("span", { class: "kind", title: one.about }, one.title ? words(one.kind) : "no heading"),
        h("span", { class: "count" }),
        !one.file && tools(one, found),
      ),
      one.file
        ? h("p", { class: "foreign" }, one.text, h("small", { class: "quiet" }, `\nfrom ${one.file}; changed there`))
        : textBox(one, own),
      h("div", { class: "findings-box" }),
    ),
  );
  return node;
}

function titleBox(one, own) {
  const head = parts[own - 1];
  if (one.file || !one.title || !head || head.head < 0)
    return h("b", { title: one.about }, one.title || words(one.kind));
  const box = h("input", {
    class: "title",
    value: one.title,
    "aria-label": `Heading of ${one.id}`,
    spellcheck: "false",
    on: {
      input: () => {
        const title = box.value.replace(/[\n{}]/g, "");
        if (!title.trim()) return;
        head.lines[head.head] = head.lines[head.head].replace(HEADING, (_, sign, __, rest) => sign + title + rest);
        typed();
      },
    },
  });
  return box;
}

function textBox(one, own) {
  const box = h("textarea", {
    rows: 1,
    "aria-label": `Text of ${one.title || one.kind}`,
    placeholder: one.flags.includes("examples") ? "The examples of the file are put in here." : "Nothing yet",
    on: {
      input: () => {
        parts[own].text = box.value;
        grow(box);
        typed();
      },
    },
  });
  box.value = parts[own].text;
  queueMicrotask(() => grow(box));
  return box;
}

function tools(one, found) {
  const mates = found.blocks.filter((other) => !other.file && other.role === one.role && other.title);
  const at = mates.findIndex((other) => other.id === one.id);
  const act = (sign, label, hear, off) =>
    button(sign, hear, {
      class: "plain small",
      "aria-label": `${label} ${one.title || one.kind}`,
      title: label,
      disabled: off,
    });
  return h(
    "span",
    { class: "tools-small" },
    at >= 0 && [
      act("↑", "Move up", () => swap(mates[at - 1], one), at === 0),
      act("↓", "Move down", () => swap(one, mates[at + 1]), at === mates.length - 1),
    ],
    act(icon("close"), "Take away", () => remove(one), found.blocks.length < 2),
  );
}

// Lines of the file as it was looked at; only what is drawn of that very text can be moved.
const current = () => (look.of === doc().source ? doc().source.split("\n") : null);

function swap(first, second) {
  const lines = current();
  if (!lines || !first || !second) return;
  const [a, b] = [first.lines, second.lines];
  setSource(
    [
      ...lines.slice(0, a[0]),
      ...lines.slice(...b),
      ...lines.slice(a[1], b[0]),
      ...lines.slice(...a),
      ...lines.slice(b[1]),
    ].join("\n"),
  );
}

function remove(one) {
  const lines = current();
  if (!lines) return;
  const [start, end] = one.lines;
  lines.splice(start, end - start + (lines[end] === "" ? 1 : 0));
  setSource(lines.join("\n"));
}

function adder() {
  const choice = h(
    "select",
    { id: "add-kind", "aria-label": "Kind of the new block" },
    files.kinds.map((one) => h("option", { value: one.name, title: one.about }, `${one.title}: ${one.about}`)),
  );
  return h(
    "div",
    { class: "add-block" },
    choice,
    button("Add", () => insert(files.kinds.find((one) => one.name === choice.value)), {
      class: "plain",
      id: "add-block",
    }),
  );
}

// A new block where its kind stands: behind the last one of no later kind, in the message of its role.
function insert(kind) {
  const lines = current();
  if (!lines) return;
  const order = (name) => files.kinds.findIndex((one) => one.name === name);
  const mates = look.found.blocks.filter((one) => !one.file && one.role === kind.place);
  const before = mates.filter((one) => order(one.kind) <= order(kind.name)).at(-1);
  const text = ["", `# ${kind.title}`, ...kind.sample.split("\n"), ""];
  if (before) lines.splice(before.lines[1], 0, ...text.slice(0, lines[before.lines[1]] === "" ? -1 : undefined));
  else if (mates.length) lines.splice(mates[0].lines[0], 0, ...text.slice(1));
  else if (kind.place === "system") lines.splice(frontEnd(lines), 0, "system:", ...text.slice(1));
  else lines.push("", `${kind.place}:`, ...text.slice(1, -1));
  setSource(lines.join("\n"));
}

function frontEnd(lines) {
  if (lines[0]?.trim() !== "---") return 0;
  const end = lines.findIndex((line, index) => index > 0 && line.trim() === "---");
  return end < 0 ? 0 : end + 1;
}

// Where somebody writes stays where somebody writes, also when a heading is typed and a block becomes two.
function focused() {
  const node = document.activeElement;
  const held = node?.closest?.("#blocks .block");
  if (!held) return null;
  const all = [...document.querySelectorAll("#blocks .block")];
  return {
    at: all.indexOf(held),
    title: node.classList.contains("title"),
    caret: node.selectionStart,
    label: node.getAttribute("aria-label"),
  };
}

function refocus(focus, found) {
  if (!focus) return;
  const all = [...document.querySelectorAll("#blocks .block")];
  const held = all[Math.min(focus.at, all.length - 1)];
  const box = held?.querySelector(focus.title ? ".title" : "textarea");
  if (focus.caret === null || focus.caret === undefined || !box) {
    (
      all
        .flatMap((one) => [...one.querySelectorAll("button")])
        .find((one) => one.getAttribute("aria-label") === focus.label) ?? box
    )?.focus();
    return;
  }
  const next = all[focus.at + 1]?.querySelector(".title");
  const split = !focus.title && focus.caret > box.value.length && next && found.blocks.length > 1;
  const to = split ? next : box;
  to.focus();
  const caret = split ? to.value.length : Math.min(focus.caret, to.value.length);
  to.setSelectionRange(caret, caret);
}

export function drawFindings(box, found) {
  if (!box) return;
  const key = JSON.stringify(found);
  if (box.dataset.key === key) return; // what is open, and who has the focus, stays
  box.dataset.key = key;
  fill(box, found.length > 0 && h("ul", { class: "findings" }, found.map(finding)));
}

function finding(one) {
  return h(
    "li",
    { class: `finding ${one.severity === "error" ? "error-level" : one.severity}`, data: { rule: one.rule } },
    h(
      "div",
      { class: "first" },
      h("span", { class: "sev" }, WORDS[one.severity]),
      h("span", {}, one.what),
      h(
        "details",
        {},
        h("summary", { title: one.name }, one.rule),
        h("p", {}, h("b", {}, `${one.name.replaceAll("-", " ")}. `), one.why),
        h("p", {}, one.source),
      ),
      doc().view === "file" &&
        one.line > 0 &&
        button(`line ${one.line}`, () => toLine(one.line), { class: "plain small" }),
      one.fix && button("Mend", () => mend(one.fix), { class: "plain small do" }),
    ),
    h("p", { class: "mend" }, `→ ${one.mend}`),
  );
}

function mend(fix) {
  const lines = doc().source.split("\n");
  if (lines[fix.line - 1]?.trimEnd() !== fix.old.trimEnd()) return; // it changed meanwhile
  lines[fix.line - 1] = fix.new;
  setSource(lines.join("\n"));
  if ($("file-text")) $("file-text").value = doc().source;
}

// Tokens in the colours of their probability; alternatives of the one that is pointed at or reached by keys.

import { $, fill, h, number } from "./dom.js";

// From sure to a guess: the share from which a token belongs to a step.
const STEPS = [0.9, 0.6, 0.3, 0.1, 0];
const NAMES = ["≥ 90 %", "≥ 60", "≥ 30", "≥ 10", "less"];

const step = (lp) => STEPS.findIndex((least) => Math.exp(lp) >= least);

export function tokenNode(token, index) {
  const known = typeof token.lp === "number";
  const node = h(
    "span",
    {
      class: `tok ${known ? `p${step(token.lp)}` : ""}`,
      role: "button",
      "aria-describedby": "tip",
      tabindex: index ? -1 : 0,
      data: { index },
    },
    visible(token.t),
  );
  if (known) node.setAttribute("aria-label", `${token.t}, ${percent(token.lp)}`);
  return node;
}

// White space that is a token, or hides in one, is shown where it would be lost.
export const visible = (text) => text.replace(/\n/g, "↵\n").replace(/\t/g, "⇥\t");

export function legend() {
  return h(
    "p",
    { class: "legend", "aria-label": "Colours of probability" },
    NAMES.map((name, index) => h("span", {}, h("i", { class: `tok p${index}` }, "\u2003"), name)),
  );
}

export function perplexity(tokens) {
  const known = tokens.filter((one) => typeof one.lp === "number");
  return known.length ? Math.exp(-known.reduce((sum, one) => sum + one.lp, 0) / known.length) : null;
}

// A token is pointed at, focused, or reached with arrows; `tokens()` are those of the cell.
export function wireTokens(box, tokens) {
  const show = (node) =>
    node?.classList?.contains("tok") &&
    node.dataset.index !== undefined &&
    tip(node, tokens()[Number(node.dataset.index)]);
  box.addEventListener("mouseover", (event) => show(event.target));
  box.addEventListener("mouseout", hideTip);
  box.addEventListener("focusin", (event) => show(event.target));
  box.addEventListener("focusout", hideTip);
  box.addEventListener("click", (event) => {
    const node = event.target.closest(".tok");
    if (node) move(box, node);
  });
  box.addEventListener("keydown", (event) => {
    const node = event.target.closest(".tok");
    if (!node) return;
    const all = [...box.querySelectorAll(".tok")];
    const at = all.indexOf(node);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: all.length - 1 }[event.key];
    if (event.key === "Escape") hideTip();
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    move(box, all[Math.max(0, Math.min(all.length - 1, to))]);
  });
}

function move(box, node) {
  for (const one of box.querySelectorAll('.tok[tabindex="0"]')) one.tabIndex = -1;
  node.tabIndex = 0;
  node.focus();
}

const percent = (lp) => {
  const share = 100 * Math.exp(lp);
  return share >= 99.95 ? "100 %" : share < 0.05 ? "<0.1 %" : `${number(share, 1)} %`;
};

function tip(node, token) {
  if (!token) return;
  const box = $("tip");
  const known = typeof token.lp === "number";
  const rows = token.top.length ? token.top : known ? [[token.t, token.lp]] : [];
  const others = rows.some(([text]) => text === token.t) || !known ? rows : [...rows, [token.t, token.lp]];
  fill(
    box,
    h("p", { class: "tip-head" }, h("b", {}, quoted(token.t)), known ? ` ${percent(token.lp)}` : " no probability"),
    h(
      "ol",
      {},
      others.map(([text, lp]) =>
        h(
          "li",
          { class: text === token.t ? "chosen" : "" },
          h("span", { class: "word" }, quoted(text)),
          bar(lp),
          h("span", { class: "share" }, percent(lp)),
        ),
      ),
    ),
    known && h("p", { class: "quiet" }, `log-probability ${number(token.lp, 3)}`),
  );
  box.hidden = false;
  place(box, node);
}

function bar(lp) {
  const inner = h("i");
  inner.style.width = `${Math.max(1, 100 * Math.exp(lp))}%`;
  return h("span", { class: "bar" }, inner);
}

const quoted = (text) => (text === "" ? "(end)" : visible(text).replace(/ /g, "·").replace(/\n/g, ""));

function place(box, node) {
  const at = node.getClientRects()[0] ?? node.getBoundingClientRect();
  const size = box.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.left, innerWidth - size.width - 8));
  const below = at.bottom + 6 + size.height < innerHeight;
  box.style.left = `${left}px`;
  box.style.top = `${below ? at.bottom + 6 : Math.max(8, at.top - size.height - 6)}px`;
}

export function hideTip() {
  $("tip").hidden = true;
}

addEventListener("scroll", hideTip, { capture: true, passive: true });

// What a model really saw: the rendered prompt, coloured by where each stretch comes from, and its token ids.

import { post } from "./api.js";
import { bodyOf } from "./ask.js";
import { button, fill, h, number } from "./dom.js";
import { visible } from "./tokens.js";

const NAMES = {
  template: "chat template",
  system: "system",
  user: "user",
  assistant: "assistant",
  tool: "tool",
  reasoning: "reasoning",
  tool_calls: "tool calls",
  terminator: "end mark",
  prompt: "text as it is",
};

// Fills `box` for a cell; what was fetched is kept in the cell.
export async function showSeen(box, cell, model, format, keep) {
  if (!cell.seen) {
    fill(box, h("p", { class: "quiet" }, "Asking what the model sees…"));
    try {
      const found = await post("/v1/render", bodyOf(model, format, cell.messages));
      cell.seen = {
        segments: found.segments.map(({ text, origin, block }) => [text, origin, block]),
        tokens: found.tokens.map(({ id, text, segment }) => [id, text, segment]),
        context: found.context,
        neutralised: found.neutralised,
        stop: found.stop ?? [],
      };
      keep();
    } catch (error) {
      const sent = h("pre", {}, JSON.stringify(cell.messages, null, 2));
      fill(box, h("p", { class: "quiet" }, `${error.message} This is what was sent:`), sent);
      return;
    }
  }
  draw(box, cell);
}

function draw(box, cell) {
  const { segments, tokens, context, neutralised, stop } = cell.seen;
  const origins = [...new Set(segments.map(([, origin]) => origin))];
  const toggle = button(
    cell.showIds ? "Text" : "Ids",
    () => {
      cell.showIds = !cell.showIds;
      draw(box, cell);
      box.querySelector("button").focus();
    },
    { class: "plain small" },
  );
  const room = context ? ` of ${number(context)}` : "";
  const notes = [
    stop.length && `It stops at ${stop.map((one) => JSON.stringify(one)).join(", ")}.`,
    neutralised &&
      `${number(neutralised)} control token${neutralised > 1 ? "s were" : " was"} spelled in a message and taken as plain letters.`,
  ].filter(Boolean);
  fill(
    box,
    h(
      "div",
      { class: "row seen-head" },
      h("span", {}, h("b", {}, `${number(tokens.length)} tokens`), h("span", { class: "quiet" }, room)),
      toggle,
    ),
    cell.showIds
      ? h(
          "p",
          { class: "ids" },
          tokens.map(([id, text, segment]) =>
            h(
              "span",
              { class: `id o-${kind(segments[segment]?.[1])}` },
              h("b", {}, shown(text)),
              h("small", {}, String(id)),
            ),
          ),
        )
      : h(
          "p",
          { class: "text segments" },
          segments.map(([text, origin, block]) =>
            h("span", { class: `seg o-${kind(origin)}`, title: titleOf(origin, block) }, visible(text)),
          ),
        ),
    h(
      "p",
      { class: "legend" },
      origins.map((one) => h("span", {}, h("i", { class: `seg o-${kind(one)}` }, "\u2003"), NAMES[one] ?? one)),
    ),
    notes.length > 0 && h("p", { class: "quiet" }, notes.join(" ")),
  );
}

const titleOf = (origin, block) => (NAMES[origin] ?? origin) + (block ? `, block ${block}` : "");
const shown = (text) => (text === "" ? "…" : visible(text).replace(/ /g, "·").replace(/\n/g, ""));
const kind = (origin) => (origin in NAMES ? origin : "block");

// Everything on the page as a file: JSON for programs, Markdown for people.

import { pathOf, places, systemText } from "./ask.js";
import { allCases, ways } from "./cases.js";
import { inWords } from "./checks.js";
import { button, dialog, h } from "./dom.js";
import { formatName } from "./known.js";
import { cellKey, state } from "./state.js";

const VERSION = 1;

export function exported() {
  return {
    heed_playground: VERSION,
    exported: new Date().toISOString(),
    rounds: state.rounds.map((round) => ({
      question: round.user,
      asked: round.at,
      conversation: round.history,
      sampling: round.sampling,
      answers: [...answers(round)].map(({ system, column, cell }) => ({
        model: column.model,
        format: column.format,
        endpoint: pathOf(column.format),
        system: systemText(system),
        messages: cell.messages,
        status: cell.status,
        text: cell.text,
        reasoning: cell.reasoning || null,
        finish_reason: cell.finish || null,
        usage: cell.usage ?? null,
        first_token_ms: round1(cell.first),
        total_ms: round1(cell.total),
        vote: cell.vote ?? 0,
        note: cell.note ?? "",
        error: cell.error ?? null,
        tokens: (cell.tokens ?? []).map((one) => ({ text: one.t, logprob: one.lp ?? null, alternatives: one.top })),
        seen: cell.seen ? { segments: cell.seen.segments, ids: cell.seen.tokens.map(([id]) => id) } : null,
      })),
    })),
    cases: allCases().map((one) => ({
      ...one,
      results: ways()
        .map((way) => ({
          model: way.column.model,
          format: way.column.format,
          system: systemText(way.system),
          ...(state.judged[one.id]?.[way.key] ?? {}),
        }))
        .filter((found) => "passed" in found || "error" in found),
    })),
  };
}

const round1 = (value) => (value ? Math.round(value * 10) / 10 : null);

function* answers(round) {
  for (const { system, column } of places(round)) {
    const cell = round.cells[cellKey(system.id, column.model, column.format)];
    if (cell) yield { system, column, cell };
  }
}

// A fence longer than any run of backticks in the text, so that an answer cannot end its own block.
function fenced(text) {
  const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
  const fence = "`".repeat(longest + 1);
  return `${fence}text\n${text}\n${fence}`;
}

const oneLine = (text) =>
  text
    .replace(/\s+/g, " ")
    .replace(/[|\\`*_<>[\]]/g, "\\$&")
    .trim();

export function markdown() {
  const lines = ["# heed playground", "", `Exported ${new Date().toISOString().slice(0, 16).replace("T", " ")} UTC.`];
  state.rounds.forEach((round, index) => {
    lines.push(
      "",
      `## ${index + 1}. ${oneLine(round.user).slice(0, 120)}`,
      "",
      fenced(round.user),
      "",
      `Sampling: ${Object.entries(round.sampling)
        .filter(([, value]) => value !== "")
        .map(([name, value]) => `${name} ${oneLine(String(value))}`)
        .join(", ")}.`,
    );
    for (const { system, column, cell } of answers(round)) {
      lines.push("", `### ${oneLine(column.model)} · ${formatName(column.format)}`, "");
      if (systemText(system).trim()) lines.push("System text:", "", fenced(systemText(system)), "");
      lines.push(fenced(cell.status === "error" ? `(${cell.error.message})` : cell.text));
      const said = [
        cell.finish === "length" && "cut at the limit",
        cell.vote === 1 && "voted good",
        cell.vote === -1 && "voted bad",
        cell.note && `note: ${oneLine(cell.note)}`,
      ].filter(Boolean);
      if (said.length) lines.push("", `${said.join("; ")}.`);
    }
  });
  const all = ways();
  if (allCases().length && all.length) {
    lines.push(
      "",
      "## Cases",
      "",
      `| case | ${all.map((way) => `${oneLine(way.name)} · ${oneLine(way.under)}`).join(" | ")} |`,
      `|---|${all.map(() => "---").join("|")}|`,
    );
    for (const one of allCases()) {
      const marks = all.map((way) => {
        const found = state.judged[one.id]?.[way.key];
        return !found || found.running ? "" : found.error ? "error" : found.passed ? "pass" : "fail";
      });
      lines.push(
        `| ${oneLine(one.messages.at(-1)?.content ?? "")} (${oneLine(one.checks.map(inWords).join(", "))}) | ${marks.join(" | ")} |`,
      );
    }
  }
  return `${lines.join("\n")}\n`;
}

export function download(name, kind, text) {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type: kind })), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function exportDialog() {
  const stamp = new Date().toISOString().slice(0, 16).replace(/[:T]/g, "-");
  const count = state.rounds.reduce((sum, round) => sum + Object.keys(round.cells).length, 0);
  dialog(
    "Export",
    h(
      "div",
      {},
      h(
        "p",
        {},
        `${state.rounds.length} question(s) with ${count} answer(s), votes, notes, and the cases with their results.`,
      ),
      h(
        "div",
        { class: "row" },
        button("Markdown, to read", () => download(`playground-${stamp}.md`, "text/markdown", markdown()), {
          class: "main",
          id: "export-md",
        }),
        button(
          "JSON, with tokens and probabilities",
          () => download(`playground-${stamp}.json`, "application/json", `${JSON.stringify(exported(), null, 1)}\n`),
          { class: "plain", id: "export-json" },
        ),
      ),
    ),
  );
}

// Checks as people write them: a type, what it needs, and whether a reply passes while they write.

import { post } from "./api.js";
import { button, fill, h, icon } from "./dom.js";
import { known } from "./known.js";

const COMMON = [
  "icontains",
  "contains-all",
  "equals",
  "iequals",
  "regex",
  "word-count",
  "sentence-count",
  "is-json",
  "starts-with",
  "ends-with",
];
const COUNTS = ["equal", "min", "max"];
const SWITCHES = ["fenced", "inside"];

// A reply is to be told from a better one: words that are only in the better one, or that must be gone, or all of it.
export function suggest(reply, answer) {
  const wordsOf = (text) => text.match(/[\p{L}\p{N}][\p{L}\p{N}'’.,-]*[\p{L}\p{N}]|[\p{L}\p{N}]/gu) ?? [];
  const fold = (word) => word.toLowerCase();
  const [old, now] = [new Set(wordsOf(reply).map(fold)), new Set(wordsOf(answer).map(fold))];
  const weight = (word) => (/\p{N}/u.test(word) ? 30 : 0) + (/^\p{Lu}/u.test(word) ? 20 : 0) + word.length;
  const fresh = [...new Set(wordsOf(answer))]
    .filter((word) => !old.has(fold(word)) && (word.length > 2 || /\p{N}/u.test(word)))
    .sort((a, b) => weight(b) - weight(a));
  if (fresh.length && !answer.includes("\n")) return [{ type: "icontains", value: fresh[0] }];
  if (fresh.length) return [{ type: "icontains-all", values: fresh.slice(0, 3) }];
  const gone = [...new Set(wordsOf(reply))]
    .filter((word) => !now.has(fold(word)) && word.length > 2)
    .sort((a, b) => weight(b) - weight(a));
  if (gone.length) return [{ type: "not-icontains", value: gone[0] }];
  return answer.trim() ? [{ type: "iequals", value: answer.trim() }] : [];
}

export const inWords = (check) => {
  const rest = Object.entries(check)
    .filter(([name]) => name !== "type")
    .map(
      ([name, value]) =>
        `${name === "value" || name === "values" ? "" : `${name} `}${typeof value === "string" ? `“${value}”` : JSON.stringify(value)}`,
    );
  return [check.type, ...rest].join(" ");
};

export const judge = async (items) => (await post("/ui/api/check", { items })).results;

// An editor of checks. `checks` is changed in place; `hear` is told.
export function checksEditor(checks, hear) {
  const box = h("div", { class: "checks" });
  const draw = (focus = -1) => {
    fill(
      box,
      checks.map((check, index) => row(check, index)),
      button(
        "Add a check",
        () => {
          checks.push({ type: "icontains", value: "" });
          draw(checks.length - 1);
          hear();
        },
        { class: "plain small" },
      ),
    );
    if (focus >= 0) box.querySelectorAll(".check")[focus]?.querySelector("input, textarea")?.focus();
  };
  const row = (check, index) => {
    const negated = check.type.startsWith("not-");
    const bare = negated ? check.type.slice(4) : check.type;
    const kind = known.checks.find((one) => one.type === bare) ?? { needs: [], takes: [] };
    const type = h(
      "select",
      {
        "aria-label": `Check ${index + 1}`,
        on: {
          change: () => {
            const next = known.checks.find((one) => one.type === type.value);
            const kept = Object.fromEntries(
              [...next.needs, ...next.takes].filter((name) => name in check).map((name) => [name, check[name]]),
            );
            checks[index] = { type: (negated ? "not-" : "") + type.value, ...start(next), ...kept };
            draw(index);
            hear();
          },
        },
      },
      option(COMMON, "usual"),
      option(
        known.checks.map((one) => one.type).filter((name) => !COMMON.includes(name)),
        "more",
      ),
    );
    type.value = bare;
    const not = h("input", {
      type: "checkbox",
      checked: negated,
      on: {
        change: () => {
          check.type = (not.checked ? "not-" : "") + bare;
          hear();
        },
      },
    });
    return h(
      "div",
      { class: "check" },
      h("label", { class: "not" }, not, "not"),
      type,
      [...kind.needs, ...kind.takes].map((name) => control(check, name, bare, hear)),
      button(
        icon("close"),
        () => {
          checks.splice(index, 1);
          draw(Math.max(0, index - 1));
          hear();
        },
        { class: "plain small", "aria-label": `Take check ${index + 1} away` },
      ),
    );
  };
  draw();
  return Object.assign(box, { redraw: draw });
}

const option = (names, label) =>
  h(
    "optgroup",
    { label },
    names
      .filter((name) => known.checks.some((one) => one.type === name))
      .map((name) => h("option", { value: name }, name)),
  );

const start = (kind) => ({
  ...(kind.needs.includes("value") ? { value: "" } : {}),
  ...(kind.needs.includes("values") ? { values: [] } : {}),
  ...(kind.needs.includes("text") ? { text: "" } : {}),
  ...(!kind.needs.length && kind.takes.includes("max") ? { max: 10 } : {}),
});

function control(check, name, type, hear) {
  const put = (value) => {
    if (value === undefined) delete check[name];
    else check[name] = value;
    hear();
  };
  const label = (node) => h("label", { class: "part" }, h("span", {}, name), node);
  if (SWITCHES.includes(name)) {
    const box = h("input", {
      type: "checkbox",
      checked: Boolean(check[name]),
      on: { change: () => put(box.checked || undefined) },
    });
    return label(box);
  }
  if (COUNTS.includes(name)) {
    const box = h("input", {
      type: "number",
      min: 0,
      step: 1,
      value: check[name] === undefined ? "" : String(check[name]),
      on: { input: () => put(box.value === "" ? undefined : Number(box.value)) },
    });
    return label(box);
  }
  const json = type === "json-equals";
  const list = name === "values";
  const box = h(list || name === "text" ? "textarea" : "input", {
    rows: 2,
    placeholder: list ? "one per line" : json ? '{"a": 1}' : "",
    on: { input: () => put(read()) },
  });
  const read = () => {
    if (list)
      return box.value
        .split("\n")
        .map((line) => line.trim())
        .filter(Boolean);
    if (!json) return box.value === "" && name !== "value" && name !== "text" ? undefined : box.value;
    try {
      box.setAttribute("aria-invalid", "false");
      return JSON.parse(box.value);
    } catch {
      box.setAttribute("aria-invalid", "true");
      return check[name] ?? null;
    }
  };
  box.value = list ? (check[name] ?? []).join("\n") : json ? JSON.stringify(check[name] ?? "") : (check[name] ?? "");
  return label(box);
}

// What the page remembers: everything but the key survives a reload and a closed browser.

const PLACE = "heed.playground.1";
const MOST_ROUNDS = 200;

export const OWN = "own"; // the model's own chat template
export const PLAIN = "plain"; // no template: the text as it is, to be continued

const START = {
  theme: "auto",
  view: "grid",
  models: [], // ids, in the order of the columns
  formats: [OWN],
  systems: [{ id: "s1", text: "" }],
  hidden: [], // columns that are closed
  sampling: { temperature: 0, top_p: 1, top_k: 0, min_p: 0, repetition_penalty: 1, max_tokens: 128, seed: 0, stop: "" },
  colour: false,
  history: false,
  draft: "",
  author: "",
  licence: "",
  consent: "",
  rounds: [],
  judged: {}, // case -> cell -> verdict
  instruction: {
    ...{ id: "", name: "my-instruction", source: "", kept: "", values: {}, typed: "" },
    ...{ view: "blocks", model: "?", format: OWN, notation: "", placement: "" },
  },
  matrix: { beside: [], own: true, notations: [""], cases: "", run: null },
};

export const state = restored();

function restored() {
  try {
    const kept = JSON.parse(localStorage.getItem(PLACE) || "{}");
    const good = Object.fromEntries(Object.entries(kept).filter(([key, value]) => sameKind(value, START[key])));
    const found = { ...structuredClone(START), ...good };
    for (const part of ["sampling", "instruction", "matrix"])
      found[part] = { ...START[part], ...withKinds(found[part], START[part]) };
    found.systems = found.systems.filter((one) => typeof one?.text === "string");
    if (!found.systems.length) found.systems = structuredClone(START.systems);
    for (const system of found.systems) if (typeof system.instruction?.source !== "string") delete system.instruction;
    const { beside, notations } = found.matrix;
    found.matrix.beside = beside.filter((one) => typeof one?.name === "string");
    found.matrix.notations = notations.filter((one) => typeof one === "string");
    if (!found.matrix.notations.length) found.matrix.notations = [...START.matrix.notations];
    found.rounds = found.rounds.filter(isRound);
    for (const round of found.rounds)
      for (const cell of Object.values(round.cells))
        Object.assign(cell, {
          tokens: cell.tokens ?? [], // left out where the browser's room was full
          status: ["waiting", "queued", "streaming"].includes(cell.status) ? "stopped" : cell.status,
        });
    return found;
  } catch {
    return structuredClone(START);
  }
}

// A page of another version, or a person, may have written anything there: what cannot be drawn is left out.
function isRound(round) {
  const lists = [round?.systems, round?.columns];
  if (typeof round?.user !== "string" || !lists.every(Array.isArray) || typeof round.cells !== "object") return false;
  const all = round.systems.flatMap((system) =>
    round.columns.map((column) => round.cells?.[cellKey(system?.id, column?.model, column?.format)]),
  );
  return all.length > 0 && all.every((cell) => typeof cell?.text === "string" && Array.isArray(cell.messages));
}

function withKinds(kept, start) {
  const good = ([key, value]) => start[key] === null || sameKind(value, start[key]);
  return Object.fromEntries(Object.entries(kept).filter(good));
}

function sameKind(a, b) {
  return b !== undefined && typeof a === typeof b && Array.isArray(a) === Array.isArray(b);
}

let timer = 0;

export function save() {
  clearTimeout(timer);
  timer = setTimeout(saveNow, 200);
}

export function saveNow() {
  clearTimeout(timer);
  state.rounds.splice(0, state.rounds.length - MOST_ROUNDS);
  for (let drop = 0; drop <= 2 * state.rounds.length; drop = 2 * drop || 1) {
    try {
      localStorage.setItem(PLACE, JSON.stringify(state, drop ? thinner(drop) : undefined));
      return;
    } catch (error) {
      if (error.name !== "QuotaExceededError") return; // no storage at all: the page works, and forgets
    }
  }
}

// Probabilities of the oldest answers go first when the browser's room is full.
function thinner(rounds) {
  const old = new Set(state.rounds.slice(0, rounds).flatMap((round) => Object.values(round.cells)));
  return function replace(key, value) {
    return old.has(this) && (key === "tokens" || key === "seen") ? undefined : value;
  };
}

addEventListener("pagehide", saveNow);

// The key lives as long as the tab.
export const key = {
  get: () => {
    try {
      return sessionStorage.getItem("heed.key") || "";
    } catch {
      return key.here || "";
    }
  },
  set: (value) => {
    key.here = value;
    try {
      sessionStorage.setItem("heed.key", value);
    } catch {
      // kept in memory
    }
  },
};

export const columnKey = (model, format) => `${model}|${format}`;
export function cellKey(system, model, format) {
  return `${system}|${model}|${format}`;
}

export function columns() {
  return state.models
    .flatMap((model) => state.formats.map((format) => ({ model, format })))
    .filter(({ model, format }) => !state.hidden.includes(columnKey(model, format)));
}

export const newId = () => Math.random().toString(36).slice(2, 10) + Date.now().toString(36);

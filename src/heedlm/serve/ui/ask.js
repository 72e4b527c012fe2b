// Asking: one request per cell, its stream written into the cell, what goes wrong said in it.

import { events, post } from "./api.js";
import { canAsk } from "./known.js";
import { OWN, PLAIN, cellKey, columns, newId, save, state } from "./state.js";

const TRIES = 6; // when the queue is full
const TOP = 5; // alternatives of each token
const AT_ONCE = 5; // streams: a browser opens six connections to one server, and votes need one
const running = new Map(); // cell -> AbortController
const waiting = []; // who comes next, first in first out
let streams = 0;

export const isRunning = () => running.size > 0;
export const onRunning = { hear: () => {} };

export function newRound(user) {
  const round = {
    id: newId(),
    user,
    at: new Date().toISOString(),
    history: state.history && state.rounds.length > 0,
    sampling: { ...state.sampling },
    systems: state.systems.map((one) => ({ ...one })),
    columns: columns().filter(canAsk),
    cells: {},
  };
  for (const { system, column } of places(round)) {
    const cell = { id: newId(), status: "waiting", text: "", tokens: [], showTokens: state.colour };
    cell.turns = messagesFor(round, system, column, state.rounds);
    cell.messages = system.instruction ? cell.turns : withSystem(system.text, cell.turns);
    round.cells[cellKey(system.id, column.model, column.format)] = cell;
  }
  state.rounds.push(round);
  save();
  return round;
}

export function* places(round) {
  for (const system of round.systems) for (const column of round.columns) yield { system, column };
}

// The turns that a cell sends: its own history, where the conversation goes on.
function messagesFor(round, system, column, before) {
  const turns = [];
  let chain = round.history;
  for (const earlier of [...before].reverse()) {
    if (!chain) break;
    const cell = earlier.cells[cellKey(system.id, column.model, column.format)];
    if (cell?.status === "done" && cell.text)
      turns.unshift({ role: "user", content: earlier.user }, { role: "assistant", content: cell.text });
    chain = earlier.history;
  }
  return [...turns, { role: "user", content: round.user }];
}

export const withSystem = (text, turns) => (text.trim() ? [{ role: "system", content: text }, ...turns] : turns);

// How a system text is told: an instruction by its name.
export const systemText = (system) => (system.instruction ? `instruction ${system.instruction.name}` : system.text);

// Turns as a model is asked them under a system text or an instruction, and what ends a continued text besides.
export async function under(system, model, format, turns, signal) {
  if (!system.instruction) return { messages: withSystem(system.text, turns), stop: [] };
  const { source, name, values, notation, placement } = system.instruction;
  const body = { source, name, values, notation, placement, model, format, messages: turns };
  const found = await post("/ui/api/instructions/speak", body, signal);
  return { messages: found.messages ?? [{ role: "user", content: found.prompt }], stop: found.stop ?? [] };
}

// What is sent for a cell. Plain text knows no turns: system text and question stand one below the other.
export function bodyOf(model, format, messages) {
  if (format === PLAIN) {
    const parts = [messages.find((one) => one.role === "system"), messages.at(-1)];
    return {
      model,
      prompt: parts
        .filter(Boolean)
        .map((one) => one.content)
        .join("\n\n"),
    };
  }
  return { model, messages, ...(format === OWN ? {} : { template: format }) };
}

export const pathOf = (format) => (format === PLAIN ? "/v1/completions" : "/v1/chat/completions");

export function samplingOf(sampling, more = []) {
  const own = sampling.stop
    .split("\n")
    .filter(Boolean)
    .map((line) => line.replaceAll("\\n", "\n"));
  const stop = [...new Set([...own, ...(more ?? [])])].slice(0, 16);
  const given = { max_tokens: sampling.max_tokens, temperature: sampling.temperature };
  if (sampling.temperature > 0) {
    given.seed = sampling.seed;
    if (sampling.top_p < 1) given.top_p = sampling.top_p;
    if (sampling.top_k > 0) given.top_k = sampling.top_k;
    if (sampling.min_p > 0) given.min_p = sampling.min_p;
  }
  if (sampling.repetition_penalty !== 1) given.repetition_penalty = sampling.repetition_penalty;
  if (stop.length) given.stop = stop;
  return given;
}

// Ask one cell; `hear(what)` is told of each change: "status" or "text".
export async function ask(round, key, hear) {
  const cell = round.cells[key];
  const [, model, format] = splitKey(key);
  const control = new AbortController();
  running.set(cell, control);
  onRunning.hear();
  Object.assign(cell, {
    status: "waiting",
    text: "",
    reasoning: "",
    tokens: [],
    finish: "",
    usage: null,
    error: null,
    calls: null,
    fixed: false,
    id: newId(),
    vote: 0,
    note: "",
  });
  hear("status");
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        await turn(control.signal);
        try {
          const system = round.systems.find((one) => one.id === key.slice(0, key.indexOf("|")));
          if (system?.instruction)
            Object.assign(cell, await under(system, model, format, cell.turns, control.signal), { seen: null });
          await stream(cell, model, format, round.sampling, control.signal, hear);
        } finally {
          streams -= 1;
          waiting.shift()?.();
        }
        break;
      } catch (error) {
        if (error.status !== 429 || attempt === TRIES) throw error;
        await queued(cell, Math.max(1, error.wait), control.signal, hear);
      }
    }
    cell.status = "done";
  } catch (error) {
    if (control.signal.aborted) cell.status = "stopped";
    else
      Object.assign(cell, {
        status: "error",
        error: { message: error.message, mend: error.mend || "", status: error.status ?? -1 },
      });
  } finally {
    running.delete(cell);
    onRunning.hear();
    hear("status");
    save();
  }
}

// Until there is a connection to spare.
async function turn(signal) {
  while (streams >= AT_ONCE && !signal.aborted)
    await new Promise((go) => {
      waiting.push(go);
      const leave = () => {
        waiting.splice(0, waiting.length, ...waiting.filter((one) => one !== go));
        go();
      };
      signal.addEventListener("abort", leave, { once: true });
    });
  if (signal.aborted) {
    waiting.shift()?.(); // who left may have been called just now: the next one looks instead
    throw new DOMException("stopped", "AbortError");
  }
  streams += 1;
}

export function splitKey(key) {
  const first = key.indexOf("|");
  const last = key.lastIndexOf("|");
  return [key.slice(0, first), key.slice(first + 1, last), key.slice(last + 1)];
}

async function queued(cell, seconds, signal, hear) {
  for (let left = Math.ceil(seconds); left > 0; left--) {
    Object.assign(cell, { status: "queued", left });
    hear("status");
    await new Promise((done, fail) => {
      const timer = setTimeout(done, 1000);
      signal.addEventListener(
        "abort",
        () => {
          clearTimeout(timer);
          fail(new DOMException("stopped", "AbortError"));
        },
        { once: true },
      );
    });
  }
  cell.status = "waiting";
  hear("status");
}

async function stream(cell, model, format, sampling, signal, hear) {
  const began = performance.now();
  const probabilities = format === PLAIN ? { logprobs: TOP } : { logprobs: true, top_logprobs: TOP };
  const body = { ...bodyOf(model, format, cell.messages), ...samplingOf(sampling, cell.stop), ...probabilities };
  for await (const event of events(
    pathOf(format),
    { ...body, stream: true, stream_options: { include_usage: true } },
    signal,
  )) {
    if (event.usage) cell.usage = { prompt: event.usage.prompt_tokens, completion: event.usage.completion_tokens };
    const choice = event.choices?.[0];
    if (!choice) continue;
    const piece = format === PLAIN ? choice.text : choice.delta?.content;
    const thought = choice.delta?.reasoning_content ?? choice.delta?.reasoning;
    const tokens = tokensOf(choice.logprobs);
    cell.tokens.push(...tokens);
    if (thought) cell.reasoning += thought;
    if (choice.delta?.tool_calls) cell.calls = [...(cell.calls ?? []), ...choice.delta.tool_calls];
    if (piece) cell.text += piece;
    if (choice.finish_reason) cell.finish = choice.finish_reason;
    if ((piece || thought || tokens.length) && cell.status !== "streaming") {
      cell.first = performance.now() - began;
      cell.status = "streaming";
      hear("status");
    }
    if (piece || thought || tokens.length) hear("text");
  }
  cell.total = performance.now() - began;
}

// Tokens with their log-probability and the best alternatives, from either way to tell them.
export function tokensOf(found) {
  if (!found) return [];
  if (found.content)
    return found.content.map((one) => ({
      t: textOf(one),
      lp: one.logprob,
      top: (one.top_logprobs ?? []).map((other) => [textOf(other), other.logprob]),
    }));
  return (found.tokens ?? []).map((text, index) => ({
    t: text,
    lp: found.token_logprobs[index],
    top: Object.entries(found.top_logprobs?.[index] ?? {}).sort((a, b) => b[1] - a[1]),
  }));
}

// A token may be a part of a character; its bytes are shown then.
function textOf(token) {
  if (!token.token.includes("\ufffd") || !token.bytes) return token.token;
  return `⟨${token.bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}⟩`;
}

export function stopAll() {
  for (const control of running.values()) control.abort();
}

export function stop(cell) {
  running.get(cell)?.abort();
}

// One answer without a stream, for cases. Full queues are waited for.
export async function answerOf(model, format, messages, sampling, signal, stop = []) {
  const body = { ...bodyOf(model, format, messages), ...samplingOf(sampling, stop) };
  const choice = (await patiently(pathOf(format), body, signal)).choices[0];
  return format === PLAIN ? choice.text : (choice.message.content ?? "");
}

export async function patiently(path, body, signal) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await post(path, body, signal);
    } catch (error) {
      if (error.status !== 429 || attempt === TRIES) throw error;
      await new Promise((done) => setTimeout(done, 1000 * Math.max(1, error.wait)));
    }
  }
}

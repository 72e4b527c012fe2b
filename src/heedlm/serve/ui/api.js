// The way to the server: JSON, streams of events, and errors that say what to do.

import { key } from "./state.js";

export class ApiError extends Error {
  constructor(status, message, mend = "", wait = 0) {
    super(message);
    this.status = status;
    this.mend = mend;
    this.wait = wait; // seconds until it is worth trying again
  }
}

const listeners = { gone: () => {}, back: () => {}, locked: () => {} };
export const on = (name, hear) => {
  listeners[name] = hear;
};

export async function request(path, { method = "GET", body, signal } = {}) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    listeners.gone();
    throw new ApiError(0, "The server does not answer.", "Is `heed serve` still running? The question is kept.");
  }
  listeners.back();
  if (response.ok) return response;
  throw await problem(response);
}

async function problem(response) {
  let found = {};
  try {
    const value = await response.json();
    found = value.error ?? value;
  } catch {
    // no JSON: the status has to do
  }
  if (typeof found === "string") found = { message: found };
  const wait = Number(response.headers.get("Retry-After")) || 0;
  if (response.status === 401 || (response.status === 403 && found.code === "invalid_api_key")) listeners.locked();
  if (found.mend) found.message = found.message?.replace(` (${found.mend})`, ""); // said below it
  const message = found.message || detail(found.detail) || `The server said ${response.status} ${response.statusText}`;
  const error = new ApiError(response.status, message, found.mend || "", wait);
  error.problems = found.problems ?? [];
  return error;
}

const detail = (value) => (Array.isArray(value) ? value.map((one) => one.msg).join("; ") : value);

export const get = async (path) => (await request(path)).json();
export const post = async (path, body, signal) => (await request(path, { method: "POST", body, signal })).json();

// The events of a stream, one JSON object each.
export async function* events(path, body, signal) {
  const response = await request(path, { method: "POST", body, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      rest += value;
      let end;
      while ((end = rest.search(/\r?\n\r?\n/)) >= 0) {
        const block = rest.slice(0, end);
        rest = rest.slice(end).replace(/^\r?\n\r?\n/, "");
        const data = block
          .split(/\r?\n/)
          .filter((line) => line.startsWith("data:"))
          .map((line) => line.slice(5).trimStart())
          .join("\n");
        if (data === "[DONE]") return;
        if (!data) continue;
        const event = JSON.parse(data);
        if (event.error)
          throw new ApiError(
            event.error.status || 500,
            event.error.message || "The server broke off.",
            event.error.mend || "",
          );
        yield event;
      }
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    listeners.gone();
    throw new ApiError(0, "The server went away in the middle of the answer.", "What came until then is kept.");
  } finally {
    reader.cancel().catch(() => {});
  }
  throw new ApiError(0, "The answer broke off without an end.", "Ask again.");
}

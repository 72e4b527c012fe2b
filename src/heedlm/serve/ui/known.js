// What the server told about itself: its models, the formats there are, the checks it knows.

import { get } from "./api.js";
import { OWN, PLAIN, columnKey, save, state } from "./state.js";

export const known = { models: [], formats: [], checks: [], files: {}, author: "", policy: "", ready: false };

const MOST_AT_FIRST = 3; // models
const NAMES = { [OWN]: "Own template", [PLAIN]: "Plain text" };

export const modelOf = (id) => known.models.find((one) => one.id === id);
export const formatName = (id) => NAMES[id] ?? known.formats.find((one) => one.id === id)?.name ?? id;

export async function learn() {
  const [models, setup] = await Promise.all([get("/v1/models"), get("/ui/api/setup")]);
  known.models = models.data.map((one) => ({ id: one.id, kind: "unknown", ...one.heed }));
  Object.assign(known, {
    formats: setup.formats,
    checks: setup.checks,
    files: setup.files,
    author: setup.author,
    policy: setup.policy,
    ready: true,
  });
  const there = known.models.map((one) => one.id);
  state.models = state.models.filter((id) => there.includes(id));
  if (!state.models.length) firstTime();
  state.author ||= setup.author;
  save();
}

// Each kind of model as it wants to be asked: a base goes on with a text, a tuned one answers in its template.
function firstTime() {
  const chosen = known.models.slice(0, MOST_AT_FIRST);
  const bare = chosen.filter((one) => one.kind === "base" || !canAsk({ model: one.id, format: OWN }));
  state.models = chosen.map((one) => one.id);
  state.formats = [...(bare.length < chosen.length ? [OWN] : []), ...(bare.length ? [PLAIN] : [])];
  state.hidden = chosen.map((one) => columnKey(one.id, bare.includes(one) ? OWN : PLAIN));
}

// Formats that at least one model can write, its own and no format at all first.
export function formatsThere() {
  const some = new Set(known.models.flatMap((one) => one.formats ?? []));
  return [OWN, PLAIN, ...known.formats.map((one) => one.id).filter((id) => some.size === 0 || some.has(id))];
}

// A column that can be asked: the model is there, and its tokenizer can write the format.
export function canAsk({ model, format }) {
  const found = modelOf(model);
  return Boolean(found) && (format === PLAIN || !found.formats || found.formats.includes(format));
}

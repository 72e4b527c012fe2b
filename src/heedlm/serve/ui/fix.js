// "Fix this answer": a training row of a person, and a case that the next model is judged by.

import { post } from "./api.js";
import { checksEditor, judge, suggest } from "./checks.js";
import { copy, dialog, field, fill, h, say } from "./dom.js";
import { known } from "./known.js";
import { save, state } from "./state.js";

export const onCases = { hear: () => {} };

export function fixDialog({ messages, reply, model, onKept }) {
  const answer = h("textarea", { rows: 5, required: true });
  answer.value = reply;
  const parts = editor("fix", { reply, answer, mends: true });
  const trouble = h("div", { class: "error", role: "alert", hidden: true });
  const form = h(
    "form",
    { class: "fix" },
    turns(messages),
    h(
      "div",
      { class: "sides" },
      h("div", { class: "field" }, h("h3", {}, "It said"), h("p", { class: "text said" }, reply || "(nothing)")),
      field("It should have said", answer),
    ),
    parts.node,
    trouble,
    h(
      "div",
      { class: "row end" },
      h("span", { class: "quiet" }, `Goes to ${known.files.store} and ${known.files.cases}`),
      h("button", { class: "main" }, "Keep as row and case"),
    ),
  );
  const box = dialog("Fix this answer", form, { wide: true });
  box.dataset.keeps = "1"; // a click beside it loses nothing that was written
  answer.focus();
  answer.select();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form, trouble, async () => {
      const done = await post("/ui/api/fix", { messages, reply, model, answer: answer.value, ...parts.given() });
      fill(form, kept(done));
      box.querySelector("h2").textContent = "Kept";
      delete box.dataset.keeps;
      box.querySelector(".close").focus();
      say("The mended answer is kept.");
      onKept();
      onCases.hear();
    });
  });
}

// A case without a mend: what is asked, and the checks that a right answer passes.
export function caseDialog({ messages, reply = "" }) {
  const question = h("textarea", { rows: 3, required: true });
  question.value = messages.at(-1).content;
  const answer = h("textarea", { rows: 2 });
  const parts = editor("case", { reply, answer, mends: false });
  const trouble = h("div", { class: "error", role: "alert", hidden: true });
  const form = h(
    "form",
    { class: "fix" },
    turns(messages.slice(0, -1)),
    field("What is asked", question),
    field("A right answer", answer, "may be left out; it must pass the checks"),
    parts.node,
    trouble,
    h(
      "div",
      { class: "row end" },
      h("span", { class: "quiet" }, `Goes to ${known.files.cases}`),
      h("button", { class: "main" }, "Save the case"),
    ),
  );
  const box = dialog("Save as a case", form, { wide: true });
  box.dataset.keeps = "1";
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form, trouble, async () => {
      const given = {
        messages: [...messages.slice(0, -1), { role: "user", content: question.value }],
        answer: answer.value,
        ...parts.given(),
      };
      await post("/ui/api/cases", given);
      box.close();
      say("The case is saved.");
      onCases.hear();
    });
  });
}

async function send(form, trouble, act) {
  const main = form.querySelector("button.main");
  main.disabled = true;
  trouble.hidden = true;
  try {
    await act();
  } catch (error) {
    fill(trouble, h("b", {}, error.message), error.mend && h("p", {}, error.mend));
    trouble.hidden = false;
    main.disabled = false;
  }
}

const turns = (messages) =>
  h(
    "div",
    { class: "turns" },
    messages.map((one) => h("p", { class: "text" }, h("span", { class: `role o-${one.role}` }, one.role), one.content)),
  );

// Checks with what they say of both answers, and who vouches for them.
function editor(name, { reply, answer, mends }) {
  const checks = mends ? [] : [{ type: "icontains", value: "" }];
  let touched = !mends;
  const verdict = h("p", { class: "verdict", "aria-live": "polite" });
  let timer = 0;
  let looks = 0;
  const look = () => {
    clearTimeout(timer);
    const turn = ++looks;
    timer = setTimeout(async () => {
      if (!checks.length) return fill(verdict, "Without a check nobody can tell whether the next model has learnt it.");
      if (checks.some(unfinished)) return fill(verdict, "Say what a right answer holds.");
      try {
        const [old, now] = await judge([
          { checks, reply },
          { checks, reply: answer.value },
        ]);
        if (turn !== looks) return undefined; // something else was written meanwhile
        fill(
          verdict,
          mends &&
            mark(
              !old.passed,
              old.passed ? "the old answer passes too: the checks do not see the mistake" : "the old answer fails",
            ),
          answer.value.trim() &&
            mark(
              now.passed,
              now.passed
                ? "the right answer passes"
                : `the right answer fails: ${now.verdicts.find((one) => !one.passed).why}`,
            ),
        );
      } catch (error) {
        if (turn !== looks) return undefined;
        fill(verdict, h("span", { class: "bad" }, error.message, " ", error.mend));
      }
      return undefined;
    }, 250);
  };
  const box = checksEditor(checks, () => {
    touched = true;
    look();
  });
  answer.addEventListener("input", () => {
    if (!touched) {
      checks.splice(0, checks.length, ...suggest(reply, answer.value));
      box.redraw();
    }
    look();
  });
  const text = (key, label, props) => {
    const input = h("input", {
      id: `${name}-${key}`,
      value: state[key],
      ...props,
      on: {
        input: () => {
          state[key] = input.value;
          save();
        },
      },
    });
    return field(label, input);
  };
  const who = h(
    "div",
    { class: "pair" },
    text("author", "Your name", { required: true, maxlength: 200, autocomplete: "name" }),
    mends && text("licence", "Licence", { placeholder: "as CC-BY-4.0", maxlength: 200 }),
    mends && text("consent", "Consent", { placeholder: "as training", maxlength: 200 }),
  );
  look();
  return {
    node: h("div", {}, h("h3", {}, mends ? "How to tell a right answer" : "A right answer passes"), box, verdict, who),
    given: () => ({
      checks,
      author: state.author,
      ...(mends ? { licence: state.licence, consent: state.consent } : {}),
    }),
  };
}

const unfinished = ({ value, values }) => value === "" || (Array.isArray(values) && !values.length);

const mark = (good, text) => h("span", { class: good ? "good" : "bad" }, good ? "✓ " : "✗ ", text);

function kept(done) {
  const lines = done.next.join("\n");
  return h(
    "div",
    { class: "kept" },
    h(
      "p",
      {},
      h("span", { class: "good" }, "✓ "),
      "Row ",
      h("code", {}, done.row.id),
      ` stands in ${done.row.where}, case `,
      h("code", {}, done.case),
      ` in ${known.files.cases}.`,
    ),
    done.row.anew && h("p", {}, "This question was mended before; the row says now what you wrote last."),
    h("p", {}, "The next training takes the row, and its evaluation asks the case:"),
    h("pre", {}, lines),
    h("div", { class: "row end" }, copy(lines)),
  );
}

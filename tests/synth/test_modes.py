"""The four modes against scripted models: what becomes a row, and why the rest does not."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heedlm.data.prepare import Source, prepare
from heedlm.data.row import Row
from heedlm.data.schema import to_example
from heedlm.errors import HeedError
from heedlm.messages import Example, Message, Reply, Request, ToolCall
from heedlm.synth.marks import marked
from heedlm.synth.self_instruct import block_of
from heedlm.synth.stage import Synthesis, synthesise
from tests.eval.scripted import ScriptedChat

WORDS = ["river", "stone", "lamp", "bread", "cloud", "horse", "paper", "glass", "salt", "wind", "iron", "moss", "drum"]


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def made(out: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return lines(out / "rows.jsonl"), lines(out / "record" / "dropped.jsonl")


def said(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(turn["role"], turn["content"]) for turn in row["messages"]]


def task(number: int) -> str:
    """Tasks that have nothing in common."""
    first, second = divmod(number, len(WORDS))
    return f"Write {WORDS[second]} {number}a {number}b {number}c about {WORDS[first % len(WORDS)]} {number}d."


# answer ---------------------------------------------------------------------------------------------------------------

PROMPTS = [
    {"prompt": "One?"},
    {"instruction": "Two?", "input": "of this", "output": ""},
    {"question": "Three?"},
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Four?"}]},
    {
        "conversations": [
            {"from": "human", "value": "Hi"},
            {"from": "gpt", "value": "Yes?"},
            {"from": "human", "value": "Five?"},
        ]
    },
    {"id": "six", "group": "g", "prompt": "Six?", "completion": "old", "meta": {"task": "t", "licence": "MIT"}},
]


def test_prompts_of_every_shape_are_answered(tmp_path: Path) -> None:
    chat = ScriptedChat(lambda request: f" to {request.messages[-1].content}\n")
    done = synthesise(
        "answer", data=jsonl(tmp_path / "p.jsonl", *PROMPTS), model=chat, out=tmp_path / "out", guide="Be kind."
    )
    rows, dropped = made(tmp_path / "out")
    assert (done.rows, done.dropped, dropped, done.stopped) == (6, {}, [], None)
    assert [row["messages"][-1]["content"] for row in rows] == [
        *("to One?", "to Two?\n\nof this", "to Three?", "to Four?", "to Five?", "to Six?")
    ]
    assert said(rows[3])[0] == ("system", "Be brief.")  # without the guide, which the teacher alone heard
    assert said(rows[0])[0] == ("user", "One?")
    assert chat.asked[0].messages[0] == Message("system", "Be kind.")
    assert chat.asked[3].messages[0] == Message("system", "Be brief.\n\nBe kind.")
    assert rows[4]["messages"][1]["weight"] == 0  # given, not taught
    assert (rows[5]["id"], rows[5]["group"], rows[5]["meta"]["task"], rows[5]["meta"]["licence"]) == (
        "six",
        "g",
        "t",
        "MIT",
    )
    assert rows[5]["source"].endswith("p.jsonl:6")


def test_every_row_says_where_it_comes_from(tmp_path: Path) -> None:
    chat = ScriptedChat(lambda request: "Yes.")
    data = jsonl(tmp_path / "p.jsonl", PROMPTS[0])
    out = tmp_path / "out"
    synthesise(
        "answer", data=data, model=chat, out=out, guide="Hm.", seed=7, temperature=0.5, max_tokens=33, licence="CC0-1.0"
    )
    row = made(out)[0][0]
    synth = row["meta"]["synth"]
    assert row["meta"]["licence"] == "CC0-1.0"
    assert (synth["mode"], synth["model"], synth["seed"]) == ("answer", "scripted", 7)
    assert synth["parameters"] == {"max_tokens": 33, "temperature": 0.5}
    assert synth["prompt"] == [{"role": "system", "content": "Hm."}, {"role": "user", "content": "One?"}]
    got = [line for line in lines(out / "record" / "journal.jsonl") if line["event"] == "got"]
    assert got[0]["key"] == synth["key"]
    assert got[0]["call"]["messages"] == synth["prompt"]
    card = json.loads((out / "record" / "card.json").read_text())
    assert (card["version"], card["rows"], card["spent"]["requests"], card["options"]["seed"]) == (1, 1, 1, 7)


def test_answers_that_nobody_should_learn_are_dropped_with_a_reason(tmp_path: Path) -> None:
    said_to = {
        "a": Reply("cut he", stop_reason="length"),
        "b": Reply("  \n"),
        "c": Reply("too long", stop_reason="error"),
        "d": Reply("As an AI language model, I cannot do that."),
        "e": Reply("Fine."),
    }
    chat = ScriptedChat(lambda request: said_to[request.messages[-1].content])
    data = jsonl(tmp_path / "p.jsonl", *({"prompt": name} for name in "abcdee"), {"nothing": 1}, {"prompt": ""})
    done = synthesise("answer", data=data, model=chat, out=tmp_path / "out")
    rows, dropped = made(tmp_path / "out")
    assert [row["messages"][0]["content"] for row in rows] == ["d", "e"]
    assert done.flagged["refusal"] == 1
    assert done.dropped == {
        "answer cut off": 1,
        "empty answer": 1,
        "refused by the model": 1,
        "repeated prompt": 1,
        "unknown shape": 1,
        "empty question": 1,
    }
    assert sum(done.dropped.values()) == len(dropped) == 6
    cut = next(drop for drop in dropped if drop["reason"] == "answer cut off")
    assert cut["what"]["answer"] == "cut he"
    assert cut["where"].endswith("p.jsonl:1")


def test_reasoning_and_calls_become_part_of_the_row(tmp_path: Path) -> None:
    reply = Reply("", reasoning="Hm.", tool_calls=(ToolCall("look", {"at": "Peru"}, "c1"),))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    data = jsonl(tmp_path / "p.jsonl", {"messages": [{"role": "user", "content": "Look!"}], "tools": [tool]})
    chat = ScriptedChat(lambda request: reply)
    synthesise("answer", data=data, model=chat, out=tmp_path / "out")
    assert chat.asked[0].tools == (tool,)
    example = to_example(Row(made(tmp_path / "out")[0][0], "x:1"))
    assert isinstance(example, Example)
    assert example.messages[-1].tool_calls == reply.tool_calls
    assert example.messages[-1].reasoning == "Hm."


def test_rows_go_straight_into_prepare(tmp_path: Path) -> None:
    chat = ScriptedChat(lambda request: f"To {request.messages[-1].content} I say {len(request.messages)} things.")
    data = jsonl(tmp_path / "p.jsonl", *PROMPTS)
    synthesise("answer", data=data, model=chat, out=tmp_path / "out")
    report = prepare([Source(tmp_path / "out", {})], tmp_path / "data", val=None, test=None, max_bad=0.0, seed=0)
    assert (report.rows_in, report.kept) == (6, 6)


# best-of --------------------------------------------------------------------------------------------------------------


def check(name: str, value: str) -> dict[str, Any]:
    return {
        "id": name,
        "prompt": f"{name}?",
        "completion": "",
        "meta": {"checks": [{"type": "contains", "value": value}]},
    }


def drawn(answers: dict[str, list[str]]) -> ScriptedChat:
    """A model that says another of its answers each time it is asked the same."""
    times: dict[str, int] = {}

    def say(request: Request) -> str:
        asked = request.messages[-1].content
        times[asked] = times.get(asked, 0) + 1
        return answers[asked][(times[asked] - 1) % len(answers[asked])]

    return ScriptedChat(say)


def test_the_first_answer_that_passes_is_kept_and_ends_the_draws(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "r.jsonl", check("a", "yes"), check("b", "yes"), check("c", "yes"))
    chat = drawn({"a?": ["yes"], "b?": ["no", "no", "oh yes", "yes"], "c?": ["no", "never"]})
    done = synthesise("best-of", data=data, model=chat, out=tmp_path / "out", draws=5, batch=1)
    rows, dropped = made(tmp_path / "out")
    assert [(row["id"], row["messages"][-1]["content"]) for row in rows] == [("a", "yes"), ("b", "oh yes")]
    assert len(chat.asked) == 1 + 3 + 5
    assert {sampling.seed for sampling in chat.samplings} == {0, 1, 2, 3, 4}
    assert rows[1]["meta"]["synth"]["draw"] == 3
    assert rows[1]["meta"]["synth"]["seed"] == 2
    assert rows[1]["meta"]["checks"] == [{"type": "contains", "value": "yes"}]
    assert done.facts == {"prompts": 3, "draws": 9, "passed_by_draw": [0.3333, 0.3333, 0.6667, 0.6667, 0.6667]}
    assert [(drop["reason"], drop["what"]["id"], drop["what"]["best"]) for drop in dropped] == [
        ("no answer passed", "c", "no")
    ]


@pytest.mark.parametrize(("keep", "kept"), [(1, ["yes 1"]), (2, ["yes 1", "yes 2"]), (9, ["yes 1", "yes 2"])])
def test_several_answers_are_kept_each_once(keep: int, kept: list[str], tmp_path: Path) -> None:
    data = jsonl(tmp_path / "r.jsonl", check("a", "yes"))
    chat = drawn({"a?": ["yes 1", "no", "yes  1", "yes 2"]})
    synthesise("best-of", data=data, model=chat, out=tmp_path / "out", draws=6, keep=keep)
    rows = made(tmp_path / "out")[0]
    assert [row["messages"][-1]["content"] for row in rows] == kept
    assert len({row["id"] for row in rows}) == len(kept)


def test_without_checks_the_answer_nearest_to_the_rows_own_is_kept(tmp_path: Path) -> None:
    row = {"id": "a", "prompt": "a?", "completion": "The sky is blue today."}
    data = jsonl(tmp_path / "r.jsonl", row, {"id": "b", "prompt": "b?"})
    chat = drawn({"a?": ["Grass.", "The sky is blue.", "The sky.", "Blue."]})
    done = synthesise("best-of", data=data, model=chat, out=tmp_path / "out", draws=4, at_least=0.5)
    rows, _ = made(tmp_path / "out")
    assert [row["messages"][-1]["content"] for row in rows] == ["The sky is blue."]
    assert done.dropped == {"nothing to judge by": 1}
    done = synthesise("best-of", data=data, model=chat, out=tmp_path / "out", draws=4, at_least=0.95)
    assert done.dropped == {"nothing to judge by": 1, "no answer passed": 1}
    assert done.reused == 4


def test_broken_checks_are_told_before_anything_is_asked(tmp_path: Path) -> None:
    broken = {"prompt": "a", "completion": "b", "meta": {"checks": [{"type": "contians", "value": "x"}]}}
    chat = ScriptedChat(lambda request: "x")
    with pytest.raises(HeedError, match="contians") as told:
        synthesise("best-of", data=jsonl(tmp_path / "r.jsonl", broken, broken), model=chat, out=tmp_path / "out")
    assert len(told.value.problems) == 2
    assert chat.asked == []


def test_prompts_that_the_budget_cut_off_are_not_said_to_have_failed(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "r.jsonl", check("a", "yes"), check("b", "yes"))
    chat = drawn({"a?": ["no", "yes"], "b?": ["no", "yes"]})
    done = synthesise("best-of", data=data, model=chat, out=tmp_path / "out", draws=3, budget_requests=3)
    assert (done.rows, done.dropped, done.stopped) == (1, {"not asked": 1}, "3 requests")
    done = synthesise("best-of", data=data, model=chat, out=tmp_path / "out", draws=3, budget_requests=4)
    assert (done.rows, done.dropped, done.stopped) == (2, {}, None)
    assert len(chat.asked) == 4


# backtranslate --------------------------------------------------------------------------------------------------------


def document(number: int) -> str:
    return " ".join(f"{WORDS[(number * 5 + place) % 13]}{number}x{place}" for place in range(40)) + "."


def test_documents_become_answers(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"{document(1)}\n<|endoftext|>\n{document(2)}\n")
    jsonl(tmp_path / "b.jsonl", {"text": document(3), "licence": "CC0-1.0"}, {"text": " "}, {"words": "x"})
    chat = ScriptedChat(lambda request: f"<instruction>Ask {len(request.messages[0].content)}.</instruction>")
    done = synthesise(
        "backtranslate", data=[tmp_path / "a.txt", tmp_path / "b.jsonl"], model=chat, out=tmp_path / "out"
    )
    rows, _ = made(tmp_path / "out")
    assert [row["messages"][1]["content"] for row in rows] == [document(1), document(2), document(3)]
    assert all(row["messages"][0]["content"].startswith("Ask ") for row in rows)
    assert [row["source"].rpartition("/")[2] for row in rows] == ["a.txt:1", "a.txt:3", "b.jsonl:1"]
    assert rows[2]["meta"]["licence"] == "CC0-1.0"
    assert done.dropped == {"empty document": 1, "missing field": 1}
    assert "{document}" in rows[0]["meta"]["synth"]["prompt"][0]["content"]
    assert document(1) not in json.dumps(rows[0]["meta"])


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("Write a text.", "no mark"),
        ("<instruction>Write", "not closed"),
        ("<instruction>A</instruction><instruction>B</instruction>", "2 instructions"),
        ("<instruction></instruction>", "nothing between"),
        ("<instruction>A<instruction>B</instruction>", "inside"),
    ],
)
def test_a_malformed_reply_is_counted_and_never_guessed(reply: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(document(1))
    chat = ScriptedChat(lambda request: reply)
    done = synthesise("backtranslate", data=tmp_path / "a.txt", model=chat, out=tmp_path / "out")
    dropped = made(tmp_path / "out")[1]
    assert (done.rows, done.dropped) == (0, {"malformed reply": 1})
    assert why in dropped[0]["why"]
    assert dropped[0]["what"]["reply"] == reply


def test_what_is_not_worth_it_is_dropped_before_it_is_paid_for(tmp_path: Path) -> None:
    texts = [document(1), document(1)[:-1] + " and more.", document(2), "long " * 51, "<text> in it"]
    data = jsonl(tmp_path / "d.jsonl", *({"text": text} for text in texts))
    chat = ScriptedChat(lambda request: "<instruction>Ask.</instruction>")
    done = synthesise("backtranslate", data=data, model=chat, out=tmp_path / "out", max_words=50)
    assert len(chat.asked) == done.rows == 2
    assert done.dropped == {"document too long": 1, "document holds a mark": 1, "like an earlier document": 1}


@given(st.text(), st.sampled_from(["{document}", "{text}", "{0}", "%s", "{{ x }}"]))
def test_documents_with_braces_are_asked_about_as_they_are(text: str, brace: str) -> None:
    from heedlm.synth.wording import ask_for_instruction, ask_for_tasks

    assert ask_for_instruction(text + brace, brace).count(text + brace) >= 1
    assert text + brace in ask_for_tasks([text + brace], 3, brace)


# self-instruct --------------------------------------------------------------------------------------------------------


def inventor(per_reply: int = 8, every: Callable[[int, str], str | Reply] = lambda number, text: text) -> ScriptedChat:
    """A model that invents tasks which were never there, and answers them."""
    made_so_far = [0]

    def say(request: Request) -> str | Reply:
        asked = request.messages[-1].content
        if "new tasks of this kind" not in asked:
            return f"Answer to {asked}"
        first = made_so_far[0]
        made_so_far[0] += per_reply
        return every(first, marked([task(first + place) for place in range(per_reply)], "task"))

    return ScriptedChat(say)


def seeds(tmp_path: Path, count: int = 5) -> Path:
    return jsonl(
        tmp_path / "seeds.jsonl",
        *({"instruction": f"Seed {n} asks {n}x {n}y {n}z.", "output": "x"} for n in range(count)),
    )


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 40])
def test_as_many_rows_as_were_asked_for(rows: int, tmp_path: Path) -> None:
    chat = inventor()
    done = synthesise("self-instruct", data=seeds(tmp_path), model=chat, out=tmp_path / "out", rows=rows)
    found, dropped = made(tmp_path / "out")
    assert (done.rows, dropped) == (rows, [])
    assert [said(row) for row in found] == [
        [("user", task(n)), ("assistant", f"Answer to {task(n)}")] for n in range(rows)
    ]
    assert len({row["id"] for row in found}) == rows
    asked = [request for request in chat.asked if "new tasks" in request.messages[-1].content]
    assert len(asked) == -(-rows // 8) == done.facts["askings"]
    synth = found[0]["meta"]["synth"]
    assert synth["task"]["prompt"][0]["content"] == asked[0].messages[0].content
    assert synth["task"]["parameters"]["max_tokens"] == 1024


def test_an_asking_shows_seeds_and_later_some_of_its_own(tmp_path: Path) -> None:
    chat = inventor(2)
    synthesise(
        "self-instruct",
        data=seeds(tmp_path, 9),
        model=chat,
        out=tmp_path / "out",
        rows=20,
        shown=3,
        tasks=2,
        about="the sea",
    )
    asked = [r.messages[0].content for r in chat.asked if "new tasks" in r.messages[0].content]
    assert all(len(re.findall(r"Seed \d asks", text)) == 3 and "about the sea" in text for text in asked)
    own = [len(re.findall(r"\nWrite \w+ \d+a", text)) for text in asked]
    assert own[:4] == [0] * 4  # the first block knows seeds alone
    assert own[4:10] == [2] * 6
    assert len({tuple(re.findall(r"Seed \d", text)) for text in asked}) > 3


def test_malformed_short_long_and_known_tasks_are_counted(tmp_path: Path) -> None:
    replies = iter(
        [
            "1. Sing.\n2. Dance.",
            "<task>Sing</task> <task>Seed 1 asks 1x 1y 1z!</task>",
            f"<task>{'word ' * 500}</task> <task>{task(1)}</task> <task>{task(2)}",
            Reply("no", stop_reason="error"),
        ]
    )

    def say(request: Request) -> str | Reply:
        if "new tasks" not in request.messages[-1].content:
            return "Answer."
        return next(replies, "<task>" + task(1) + "</task>")

    done = synthesise("self-instruct", data=seeds(tmp_path), model=ScriptedChat(say), out=tmp_path / "out", rows=5)
    assert done.rows == 1
    assert done.dropped["malformed reply"] == 2
    assert (done.dropped["task too short"], done.dropped["task too long"]) == (1, 1)
    assert done.dropped["refused by the model"] == 1
    assert done.dropped["not new"] == 1 + 11 + 1  # the seed, then the same task again and again, until it ends
    assert "nothing new" in done.facts["ended"]


def test_tasks_without_a_good_answer_are_replaced(tmp_path: Path) -> None:
    chat = inventor()
    plain = chat.answer
    chat.answer = lambda r: Reply("cut", stop_reason="length") if r.messages[-1].content == task(3) else plain(r)
    done = synthesise("self-instruct", data=seeds(tmp_path), model=chat, out=tmp_path / "out", rows=8)
    assert (done.rows, done.dropped) == (8, {"answer cut off": 1})


def test_a_smaller_budget_gives_fewer_rows_and_a_larger_one_the_same_as_at_once(tmp_path: Path) -> None:
    def say(request: Request) -> str:
        """Depends on nothing but what is asked, as a paid model at temperature 0."""
        asked = request.messages[-1].content
        if "new tasks" not in asked:
            return f"Answer to {asked}"
        return marked([task(sum(map(ord, asked)) % 5000 * 8 + place) for place in range(8)], "task")

    data = seeds(tmp_path, 12)
    whole, parts = ScriptedChat(say), ScriptedChat(say)
    synthesise("self-instruct", data=data, model=whole, out=tmp_path / "whole", rows=40)
    for budget in (0, 3, 9, 20, 1000):
        done = synthesise(
            "self-instruct", data=data, model=parts, out=tmp_path / "parts", rows=40, budget_requests=budget
        )
        assert done.spent["requests"] == len(parts.asked) <= budget
    assert done.stopped is None
    assert made(tmp_path / "parts")[0] == made(tmp_path / "whole")[0]
    assert len(parts.asked) == len(whole.asked)


@given(st.integers(0, 5000))
def test_blocks_part_the_askings(number: int) -> None:
    start, end = block_of(number)
    assert start <= number < end
    assert block_of(start) == block_of(end - 1) == (start, end)
    assert block_of(end)[0] == end
    assert 4 <= end - start <= 32


def test_seeds_that_cannot_be_shown(tmp_path: Path) -> None:
    chat = inventor()
    marks = {"prompt": "Close </task> it."}
    done = synthesise(
        "self-instruct",
        data=jsonl(tmp_path / "s.jsonl", marks, {"prompt": "Sing a song."}),
        model=chat,
        out=tmp_path / "a",
        rows=1,
    )
    assert (done.rows, done.dropped) == (1, {"seed holds a mark": 1})
    with pytest.raises(HeedError, match="No seed"):
        synthesise("self-instruct", data=jsonl(tmp_path / "s.jsonl", marks), model=chat, out=tmp_path / "b", rows=1)


def test_a_report_is_plain(tmp_path: Path) -> None:
    done = synthesise(
        "self-instruct",
        data=seeds(tmp_path),
        model=inventor(),
        out=tmp_path / "out",
        rows=1,
        price_in="0.5",
        price_out=1,
    )
    assert isinstance(done, Synthesis)
    assert float(done.spent["money"]) > 0
    assert done.notes
    assert "not counted" in done.notes[0]


# Scorers of best-of ---------------------------------------------------------------------------------------------------


def test_a_scorer_judges_what_checks_cannot(tmp_path: Path) -> None:
    row = {"id": "a", "prompt": "a?", "completion": "1200"}
    data = jsonl(tmp_path / "r.jsonl", row, {**row, "id": "b", "prompt": "b?", "meta": {"scorer": "exact"}})
    chat = drawn({"a?": ["It is 1,300.", "So 3 x 400 = 1,200."], "b?": ["So 1,200.", "1200"]})
    done = synthesise("best-of", data=data, model=chat, out=tmp_path / "out", draws=4, scorer="numeric")
    rows, _ = made(tmp_path / "out")
    assert [row["messages"][-1]["content"] for row in rows] == ["So 3 x 400 = 1,200.", "1200"]
    assert done.facts["passed_by_draw"] == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("scorer", "row", "said"),
    [
        ("numric", {"prompt": "a?", "completion": "1"}, "numeric"),
        ("likelihood", {"prompt": "a?", "completion": "1"}, "judges no answer"),
        ("numeric", {"prompt": "a?"}, "no target"),
        ("regex", {"prompt": "a?"}, "no pattern"),
    ],
)
def test_a_scorer_that_cannot_judge_is_told_before_anything_is_asked(
    scorer: str, row: dict[str, Any], said: str, tmp_path: Path
) -> None:
    chat = ScriptedChat(lambda request: "x")
    with pytest.raises(HeedError) as told:
        synthesise("best-of", data=jsonl(tmp_path / "r.jsonl", row), model=chat, out=tmp_path / "out", scorer=scorer)
    assert said in str(told.value)
    assert chat.asked == []


def test_calls_of_tools_are_answers_too(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "Peru"}}}
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    turns = [{"role": "user", "content": "Look!"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    data = jsonl(tmp_path / "r.jsonl", {"messages": turns, "tools": [tool], "meta": {"scorer": "tool_call"}})
    answers = iter(["Peru", {"at": "Chile"}, {"at": "Peru"}])

    def say(request: Request) -> str | Reply:
        said = next(answers)
        return said if isinstance(said, str) else Reply("", tool_calls=(ToolCall("look", said),))

    done = synthesise("best-of", data=data, model=ScriptedChat(say), out=tmp_path / "out", draws=5)
    rows, _ = made(tmp_path / "out")
    assert done.facts["draws"] == 3
    assert rows[0]["messages"][-1]["tool_calls"][0]["function"]["arguments"] == {"at": "Peru"}


# Ratings --------------------------------------------------------------------------------------------------------------


def critic(scores: dict[str, str]) -> ScriptedChat:
    """Answers, and rates its answers as it is told to."""

    def say(request: Request) -> str:
        if "judge the answer above" in request.messages[-1].content:
            assert request.messages[-2] == Message("assistant", f"To {request.messages[-3].content}")
            return scores[request.messages[-3].content]
        return f"To {request.messages[-1].content}"

    return ScriptedChat(say)


@pytest.mark.parametrize(("rate", "kept"), [(1, "abcde"), (4, "de"), (5, "e")])
def test_rows_that_the_model_rates_low_are_left_out(rate: int, kept: str, tmp_path: Path) -> None:
    chat = critic({name: f"Well: <score> {score} </score>" for score, name in enumerate("abcde", start=1)})
    data = jsonl(tmp_path / "p.jsonl", *({"prompt": name} for name in "abcde"))
    done = synthesise("answer", data=data, model=chat, out=tmp_path / "out", rate=rate)
    rows, dropped = made(tmp_path / "out")
    assert "".join(row["messages"][0]["content"] for row in rows) == kept
    assert [row["meta"]["synth"]["rating"]["value"] for row in rows] == list(range(rate, 6))
    assert done.dropped == ({"rated too low": 5 - len(kept)} if len(kept) < 5 else {})
    assert all(drop["why"] == f"{drop['what']['reply'][14]} of 5, asked for was {rate}" for drop in dropped)
    assert done.spent["requests"] == 10


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        ("4", "no mark"),
        ("<score>4.5</score>", "'4.5' is no number"),
        ("<score>6</score>", "'6' is no number"),
        ("<score>0</score>", "'0' is no number"),
        ("<score>4</score><score>5</score>", "2 ratings"),
        ("<score>4/5</score>", "no number"),
        ("<score>4", "not closed"),
    ],
)
def test_a_rating_is_one_number_or_none(reply: str, why: str, tmp_path: Path) -> None:
    data = jsonl(tmp_path / "p.jsonl", {"prompt": "a"})
    done = synthesise("answer", data=data, model=critic({"a": reply}), out=tmp_path / "out", rate=1)
    assert (done.rows, done.dropped) == (0, {"malformed rating": 1})
    assert why in made(tmp_path / "out")[1][0]["why"]


def test_a_rating_that_the_budget_cut_off_comes_with_more_budget(tmp_path: Path) -> None:
    data = jsonl(tmp_path / "p.jsonl", {"prompt": "a"}, {"prompt": "b"})
    chat = critic({"a": "<score>5</score>", "b": "<score>5</score>"})
    done = synthesise("answer", data=data, model=chat, out=tmp_path / "out", rate=3, budget_requests=3)
    assert (done.rows, done.dropped) == (1, {"not asked": 1})
    done = synthesise("answer", data=data, model=chat, out=tmp_path / "out", rate=3, budget_requests=4)
    assert (done.rows, done.dropped, len(chat.asked)) == (2, {}, 4)


def test_documents_and_new_tasks_are_rated_too(tmp_path: Path) -> None:
    jsonl(tmp_path / "d.jsonl", {"text": document(1)}, {"text": document(2)})

    def say(request: Request) -> str:
        if "judge the answer" in request.messages[-1].content:
            return f"<score>{5 if document(1) in request.messages[-2].content else 2}</score>"
        return "<instruction>Write.</instruction>"

    done = synthesise("backtranslate", data=tmp_path / "d.jsonl", model=ScriptedChat(say), out=tmp_path / "d", rate=3)
    assert (done.rows, done.dropped) == (1, {"rated too low": 1})
    chat = inventor()
    plain = chat.answer
    third = task(2)
    chat.answer = lambda r: (
        f"<score>{1 if r.messages[0].content == third else 4}</score>"
        if "judge the answer" in r.messages[-1].content
        else plain(r)
    )
    done = synthesise("self-instruct", data=seeds(tmp_path), model=chat, out=tmp_path / "s", rows=8, rate=4)
    assert (done.rows, done.dropped) == (8, {"rated too low": 1})


def test_a_model_that_cannot_do_what_it_invents_is_not_asked_for_ever(tmp_path: Path) -> None:
    chat = inventor()
    plain = chat.answer
    chat.answer = lambda r: plain(r) if "new tasks" in r.messages[-1].content else Reply("cut", stop_reason="length")
    done = synthesise("self-instruct", data=seeds(tmp_path), model=chat, out=tmp_path / "out", rows=30)
    assert done.rows == 0
    assert "brought no row" in done.facts["ended"]
    assert len(chat.asked) < 100

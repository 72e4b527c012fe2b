import pytest

from heedlm.errors import HeedError
from heedlm.messages import Example, Message
from heedlm.templates.chat import load_template
from heedlm.tokens.encode import encode_example
from heedlm.tokens.rows import make_rows
from heedlm.tokens.tokenizer import train_tokenizer
from tests.families import TEXTS, VOCABULARY

TOKENIZER = train_tokenizer(TEXTS, VOCABULARY)
CHATML = load_template("chatml", TOKENIZER)


def conversation(turns: int, system: str | None = None) -> Example:
    messages = [Message("system", system)] if system else []
    for n in range(turns):
        messages += [Message("user", f"Question {n}?"), Message("assistant", f"Answer {n}.")]
    return Example(id=f"c{turns}", messages=tuple(messages), source=f"rows.jsonl:{turns}")


def length(example: Example) -> int:
    (one,) = encode_example(CHATML, TOKENIZER, example)
    return len(one.ids)


def test_empty_one_exactly_full_and_one_over() -> None:
    example = conversation(2)
    full = length(example)
    assert make_rows(CHATML, TOKENIZER, [], max_tokens=8, overflow="drop").sequences == ()
    kept = make_rows(CHATML, TOKENIZER, [example], max_tokens=full, overflow="refuse")
    assert (len(kept.sequences), kept.dropped) == (1, ())
    dropped = make_rows(CHATML, TOKENIZER, [example], max_tokens=full - 1, overflow="drop")
    assert dropped.sequences == ()
    assert dropped.dropped[0].where == "rows.jsonl:2"
    assert f"{full:,} tokens" in dropped.dropped[0].what


def test_refusing_names_every_row_that_is_too_long() -> None:
    rows = [conversation(1), conversation(3), conversation(4)]
    with pytest.raises(HeedError) as caught:
        make_rows(CHATML, TOKENIZER, rows, max_tokens=length(rows[0]), overflow="refuse")
    assert [p.where for p in caught.value.problems] == ["rows.jsonl:3", "rows.jsonl:4"]


def test_many_rows_that_are_too_long_are_counted() -> None:
    with pytest.raises(HeedError) as caught:
        make_rows(CHATML, TOKENIZER, [conversation(2)] * 25, max_tokens=5, overflow="refuse")
    assert len(caught.value.problems) == 21
    assert "5 more" in caught.value.problems[-1].what


def test_oldest_turns_go_whole_and_the_system_text_stays() -> None:
    example = conversation(4, system="Be brief.")
    limit = length(conversation(2, system="Be brief."))
    made = make_rows(CHATML, TOKENIZER, [example], max_tokens=limit, overflow="oldest_turns")
    assert made.shortened == 1
    assert [m.content for m in made.examples[0].messages] == [
        "Be brief.",
        "Question 2?",
        "Answer 2.",
        "Question 3?",
        "Answer 3.",
    ]
    assert len(made.sequences[0].ids) <= limit


def test_an_answer_is_never_cut() -> None:
    example = Example("x", (Message("user", "Go"), Message("assistant", "on " * 99)), "rows.jsonl:1")
    made = make_rows(CHATML, TOKENIZER, [example], max_tokens=50, overflow="oldest_turns")
    assert made.sequences == ()
    assert len(made.dropped) == 1


def test_every_row_is_proved() -> None:
    made = make_rows(CHATML, TOKENIZER, [conversation(n) for n in (1, 2, 3)], max_tokens=1000, overflow="drop")
    assert made.proof.rows == 3
    assert made.proof.ok
    assert made.row_of == (0, 1, 2)

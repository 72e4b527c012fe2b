"""Many requests: every one is asked once, alike ones together."""

from __future__ import annotations

from itertools import islice

from heedlm.eval.asking import Ask, answers
from heedlm.messages import Message, Request, Sampling

from .scripted import ScriptedChat


def _text(request: Request) -> str:
    return request.text or request.messages[-1].content


def _asked(asks: list[Ask], batch: int = 64) -> tuple[list[list[str]], dict[int, str]]:
    """The texts of every batch, and the reply of every ask: its own text."""
    chat = ScriptedChat(_text)
    found: dict[int, str] = {}
    for done in answers(chat, asks, Sampling(), batch=batch):
        for index, reply in zip(done.indices, done.replies, strict=True):
            assert index not in found
            found[index] = reply.text
    texts = iter(map(_text, chat.asked))
    return [list(islice(texts, size)) for size in chat.calls], found


def test_nothing_asked_nothing_answered() -> None:
    batches, found = _asked([])
    assert (batches, found) == ([], {})


def test_every_ask_is_answered_once_at_its_own_place() -> None:
    texts = [f"{'long ' * (number % 7)}{number}" for number in range(50)]
    batches, found = _asked([Ask(Request(text=text)) for text in texts], batch=8)
    assert [found[index] for index in range(50)] == texts
    assert max(map(len, batches)) == 8


def test_what_opens_alike_is_asked_together() -> None:
    shots = [letter * 250 for letter in "ab"]
    asks = [Ask(Request(text=f"{shots[number % 2]} {number}")) for number in range(20)]
    asks += [Ask(Request(text=f"{'c' * 250} {number}")) for number in range(7)]  # too few for batches of their own
    asks += [Ask(Request(text="short"))]
    batches, _ = _asked(asks)
    assert sorted({text[0] for text in batch} == {"a"} for batch in batches) == [False, False, True]
    assert [sorted({text[0] for text in batch}) for batch in batches] == [["a"], ["b"], ["c", "s"]]


def test_a_long_system_text_counts_as_an_opening() -> None:
    rules = "Answer briefly. " * 20
    asks = [Ask(Request(messages=(Message("system", rules), Message("user", str(number))))) for number in range(8)]
    asks += [Ask(Request(messages=(Message("system", "Be kind."), Message("user", "hello"))))]
    batches, _ = _asked(asks)
    assert [len(batch) for batch in batches] == [8, 1]

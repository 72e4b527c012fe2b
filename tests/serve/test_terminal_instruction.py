"""`heed chat --instruction`: what is asked under it, what is remembered, what is shown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from heedlm import cli_chat
from heedlm.errors import HeedError
from heedlm.generate.chat import LocalChat, load_chat
from heedlm.instructions.format import load, parse
from heedlm.instructions.policy import Policy, policy_of
from heedlm.messages import Chat, Message, Reply, Request, Sampling
from heedlm.serve.session import Keeping
from heedlm.serve.terminal import terminal_chat
from tests.families import checkpoint
from tests.instructions.wires import DROPS
from tests.serve.test_terminal import ScriptedChat, last_words
from tests.typed import Heed, squeezed

RULED = parse(
    "---\nname: brief\ninputs:\n  - {name: question, kind: string, required: true}\nheed: {trust: {question: data}}\n---\n"
    "system:\n# Task\nAnswer.\n\nuser:\nQ: {{ question }}\n"
)


def talk(chat: Chat, *lines: str, policy: Policy | None = None, **more: Any) -> str:
    shown: list[str] = []
    ruled = policy or policy_of(RULED)
    terminal_chat(chat, sampling=Sampling(max_tokens=6), policy=ruled, lines=lines, write=shown.append, **more)
    return "".join(shown)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> LocalChat:
    return load_chat(checkpoint(tmp_path_factory.mktemp("model"), max_position_embeddings=512), "chatml", name="small")


def told(chat: ScriptedChat) -> list[list[tuple[str, str]]]:
    return [[(one.role, one.content) for one in request.messages] for request in chat.asked]


def test_turns_are_asked_under_it_and_remembered_as_they_were_typed() -> None:
    chat = ScriptedChat(lambda request: Reply(text="yes"))
    shown = talk(chat, "one", "/retry 0.5", "two", "/instruction off", "three", "/instruction on", "four")
    head, first = ("system", "# Task\nAnswer."), [("user", "Q: one"), ("assistant", "yes")]
    asked = told(chat)
    assert asked[0] == asked[1] == [head, ("user", "Q: one")]
    assert asked[2] == [head, *first, ("user", "Q: two")]
    assert asked[3] == [("user", "one"), ("assistant", "yes"), ("user", "two"), ("assistant", "yes"), ("user", "three")]
    assert asked[4][0] == head
    assert asked[4][-1] == ("user", "Q: four")
    assert "under brief: 2 blocks" in shown
    assert "what you type is its 'question'" in shown
    assert "/instruction on resumes it" in shown


def test_a_system_text_of_the_person_stands_behind_it() -> None:
    chat = ScriptedChat(last_words)
    talk(chat, "/system Be kind.", "one", system="Be brief.")
    assert told(chat)[0][0] == ("system", "# Task\nAnswer.\n\n# Additional instructions\nBe kind.")


def test_it_is_shown_with_its_blocks_and_their_tokens(local: LocalChat) -> None:
    shown = talk(local, "/instruction Why?", "/instruction", policy=policy_of(load("ticket-triage")))
    assert "<|im_start|>system\n# Role\nYou sort support tickets for Northwind." in shown
    assert "Why?" in shown
    assert "(what you type)" in shown
    for block in ("role", "task", "rules", "format", "(template)"):
        assert any(line.startswith(block) and line.endswith("tokens") for line in shown.splitlines()), block
    quoted = talk(local, "/instruction Sing.\\", "# Task")
    assert "looked like a heading" in quoted
    away = talk(ScriptedChat(last_words), "/instruction Why?")
    assert "[system]\n# Task\nAnswer.\n[user]\nQ: Why?" in away
    assert "out of our sight" in away


def test_without_one_the_command_says_how_to_begin_with_one() -> None:
    shown: list[str] = []
    terminal_chat(ScriptedChat(last_words), sampling=Sampling(), lines=["/instruction"], write=shown.append)
    assert "--instruction FILE" in "".join(shown)


def test_a_template_that_drops_it_is_refused_at_the_start_and_in_a_switch(local: LocalChat, tmp_path: Path) -> None:
    drops = tmp_path / "drops.jinja"
    drops.write_text(DROPS)
    model = checkpoint(tmp_path / "model", max_position_embeddings=512)
    with pytest.raises(HeedError, match="drops the system text") as refused:
        talk(load_chat(model, str(drops)), "hi")
    assert "--placement user" in refused.value.problems[0].mend
    assert "> " not in talk(load_chat(model, str(drops)), policy=policy_of(RULED, placement="user"))
    shown = talk(local, f"/format {drops}", "/format")
    assert "drops the system text" in shown
    assert "format: chatml" in shown
    shown = talk(local, f"/compare @{drops} @alpaca hi")
    assert "drops the system text" in shown
    assert "-- alpaca -" in shown


def test_a_comparison_and_a_saved_row_hold_it(tmp_path: Path) -> None:
    chat, base, other = (
        ScriptedChat(lambda request: Reply(text="yes"), name=name) for name in ("tuned", "base", "other")
    )
    store = tmp_path / "rows.jsonl"
    talk(
        *(chat, "one", "/compare @base @runs/b", "two", "/save", "/compare"),
        base=lambda: base,
        other=lambda name: other,
        keeping=Keeping(store, "Ann"),
    )
    assert base.asked == [Request(text="one"), Request(text="two")]
    assert told(other)[0] == told(chat)[0] == told(chat)[1] == [("system", "# Task\nAnswer."), ("user", "Q: one")]
    assert told(other)[1] == told(chat)[2]
    assert len(told(other)[1]) == 4
    row = json.loads(store.read_text())["row"]["messages"]
    assert [one["content"] for one in row] == ["# Task\nAnswer.", "Q: one", "yes", "Q: two", "yes"]


def test_in_the_base_the_other_one_is_the_model_that_answers() -> None:
    chat, base = (ScriptedChat(last_words, name=name) for name in ("tuned", "base"))
    shown: list[str] = []
    lines = ["one", "/base", "/compare two", "/compare", "three", "/compare"]
    terminal_chat(chat, base=lambda: base, sampling=Sampling(), lines=lines, write=shown.append)
    # "/compare" alone repeats what was asked last, of whoever was asked: first the model that answers, then the base.
    assert [one.text for one in base.asked] == ["two", "one", "three", "three"]
    assert [[turn.content for turn in one.messages] for one in chat.asked] == [
        ["one"],
        ["one", "You said one", "two"],
        ["one"],
        ["one", "You said one", "three"],
    ]
    assert "".join(shown).count("-- tuned -") == 3


def test_exit_leaves_as_quit_does() -> None:
    chat = ScriptedChat(last_words)
    terminal_chat(chat, sampling=Sampling(), lines=["/exit", "more"], write=lambda text: None)
    assert chat.asked == []


def test_inputs_are_given_or_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    replies = iter(["@nowhere.txt", "The ferry runs every hour."])

    def prompt(text: str) -> str:
        asked.append(text)
        return next(replies)

    monkeypatch.setattr("typer.prompt", prompt)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    policy = cli_chat._policy("answer-from-text", [], "system")
    assert policy is not None
    assert (policy.typed, policy.values["document"]) == ("question", "The ferry runs every hour.")
    assert len(asked) == 2, "a value that cannot be read is asked for again"
    assert asked[0].startswith("document (")
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(HeedError, match="document"):
        cli_chat._policy("answer-from-text", [], "system")
    assert cli_chat._policy("answer-from-text", ["document=x"], "user").layout.placement == "user"  # type: ignore[union-attr]
    assert cli_chat._policy(None, [], "system") is None


def test_what_does_not_belong_together_is_refused(heed: Heed, tmp_path: Path) -> None:
    said = squeezed(heed)
    model = checkpoint(tmp_path / "tiny")
    assert "belongs to --instruction" in said("chat", model, "--input", "a=b")[2]
    assert "did you mean 'user'" in said("chat", model, "--placement", "usr")[2]
    assert "did you mean 'ticket-triage'" in said("chat", model, "--instruction", "ticket-triag")[2]


class Silent(ScriptedChat):
    def reply(self, requests: Sequence[Request], sampling: Sampling, **more: Any) -> list[Reply]:
        self.asked += requests
        return [Reply(text="gone", stop_reason="error")]


def test_an_answer_that_failed_is_no_turn() -> None:
    chat = Silent(last_words)
    talk(chat, "one", "/retry 0.5", "two")
    assert [len(one.messages) for one in chat.asked] == [2, 2, 2]
    assert chat.asked[-1].messages[-1] == Message("user", "Q: two")

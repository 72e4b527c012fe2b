"""A scripted conversation: what is typed, what is asked of the model, what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from heedlm.errors import HeedError
from heedlm.messages import Message, Reply, Request, Sampling, ToolCall
from heedlm.serve.terminal import COMMANDS, terminal_chat

Answer = Callable[[Request], Reply]


class ScriptedChat:
    """Answers from a function, streamed word by word; remembers what it was asked."""

    def __init__(self, answer: Answer, name: str = "tuned") -> None:
        self.name = name
        self.asked: list[Request] = []
        self._answer = answer

    def reply(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        *,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Reply]:
        self.asked += requests
        reply = self._answer(requests[0])
        if on_text is not None and reply.text and reply.stop_reason != "error":
            for word in reply.text.split(" "):
                on_text(0, word + " ")
        return [reply]

    def score(self, requests: Sequence[Request], continuations: Sequence[str]) -> list[list[float]]:
        raise AssertionError("a conversation scores nothing")


class RenderingChat(ScriptedChat):
    def render(self, request: Request) -> tuple[str, tuple[int, ...]]:
        text = request.text or "".join(f"[{message.role}]{message.content}" for message in request.messages)
        return text, tuple(range(len(text)))


def last_words(request: Request) -> Reply:
    return Reply(text=f"You said {request.text or request.messages[-1].content}")


def talk(chat: ScriptedChat, *lines: str, base: ScriptedChat | None = None, system: str | None = None) -> str:
    shown: list[str] = []
    load = None if base is None else lambda: base
    terminal_chat(chat, base=load, sampling=Sampling(max_tokens=64), system=system, lines=lines, write=shown.append)
    return "".join(shown)


def test_turns_build_on_each_other() -> None:
    chat = ScriptedChat(last_words)
    shown = talk(chat, "one", "  ", "two")
    assert "You said one" in shown
    assert "You said two" in shown
    assert chat.asked[1].messages == (
        Message("user", "one"),
        Message("assistant", "You said one"),
        Message("user", "two"),
    )


def test_the_system_text_is_set_shown_and_taken_away() -> None:
    chat = ScriptedChat(last_words)
    shown = talk(
        chat, "/system", "a", "/system Answer in  capitals", "b", "/system off", "c", "/system", system="Be brief"
    )
    assert [request.messages[0] for request in chat.asked] == [
        Message("system", "Be brief"),
        Message("system", "Answer in  capitals"),
        Message("user", "a"),
    ]
    assert "system: Be brief" in shown
    assert "There is no system text" in shown


def test_the_base_model_continues_plain_text_and_the_conversation_waits() -> None:
    base = ScriptedChat(lambda request: Reply(text="and so on"), name="base")
    chat = ScriptedChat(last_words)
    shown = talk(chat, "one", "/base", "The capital of France is", "/base", "two", base=base)
    assert base.asked == [Request(text="The capital of France is")]
    assert [message.content for message in chat.asked[1].messages] == ["one", "You said one", "two"]
    assert "base: continues" in shown
    assert "and so on" in shown


def test_without_a_base_model_the_command_says_so() -> None:
    chat = ScriptedChat(last_words)
    assert "no base model" in talk(chat, "/base", "/base Once upon")
    assert chat.asked == []


def test_base_with_a_text_switches_and_continues_it() -> None:
    base = ScriptedChat(lambda request: Reply(text="and so on"), name="base")
    chat = ScriptedChat(last_words)
    shown = talk(chat, "/base The capital of France is", "/base One more", "/base", "hello", base=base)
    assert base.asked == [Request(text="The capital of France is"), Request(text="One more")]
    assert shown.count("and so on") == 2
    assert [request.messages for request in chat.asked] == [(Message("user", "hello"),)]


def test_the_base_model_is_loaded_when_it_is_asked_for_and_once() -> None:
    loaded: list[ScriptedChat] = []

    def load() -> ScriptedChat:
        loaded.append(ScriptedChat(last_words, name="base"))
        return loaded[-1]

    chat = ScriptedChat(last_words)
    terminal_chat(chat, base=load, sampling=Sampling(), lines=["hello"], write=lambda text: None)
    assert loaded == []
    terminal_chat(chat, base=load, sampling=Sampling(), lines=["/base", "/base", "/base x"], write=lambda text: None)
    assert len(loaded) == 1


def test_a_base_model_that_cannot_be_loaded_does_not_end_the_conversation() -> None:
    def load() -> ScriptedChat:
        raise HeedError("The base is not here.", "ORG/NAME", "heed chat runs/x --base ORG/NAME")

    chat = ScriptedChat(last_words)
    shown: list[str] = []
    terminal_chat(chat, base=load, sampling=Sampling(), lines=["/base hello", "hi"], write=shown.append)
    assert "--base ORG/NAME" in "".join(shown)
    assert [request.messages[-1].content for request in chat.asked] == ["hi"]


def test_show_with_a_text_tells_what_would_be_seen_and_asks_nothing() -> None:
    chat = RenderingChat(last_words)
    base = RenderingChat(last_words, name="base")
    shown = talk(chat, "one", "/show two", "/show", "/base", "/show plain", base=base)
    assert "[user]one[assistant]You said one[user]two\n" in shown
    assert "[user]one\n(9 tokens)" in shown
    assert "plain\n(5 tokens)" in shown
    assert len(chat.asked) == 1
    assert base.asked == []


def test_reset_with_a_text_begins_anew_with_it() -> None:
    chat = ScriptedChat(last_words)
    talk(chat, "one", "/reset two", system="s")
    assert chat.asked[1].messages == (Message("system", "s"), Message("user", "two"))


def test_show_tells_what_the_model_saw() -> None:
    chat = RenderingChat(last_words)
    base = RenderingChat(last_words, name="base")
    shown = talk(chat, "/show", "hi", "/show", "/base", "x = [1]", "/show", base=base, system="s")
    assert "Nothing was sent yet" in shown
    assert "[system]s[user]hi\n(17 tokens)" in shown
    assert "x = [1]\n(7 tokens)" in shown


def test_show_of_an_endpoint_is_what_was_sent() -> None:
    shown = talk(ScriptedChat(last_words), "नमस्ते", "/show")
    assert '"content": "नमस्ते"' in shown
    assert "endpoint" in shown


def test_reset_forgets_the_conversation_and_keeps_the_system_text() -> None:
    chat = ScriptedChat(last_words)
    shown = talk(chat, "one", "/reset", "/show", "two", system="s")
    assert chat.asked[1].messages == (Message("system", "s"), Message("user", "two"))
    assert "Nothing was sent yet" in shown


def test_quit_leaves_at_once() -> None:
    chat = ScriptedChat(last_words)
    talk(chat, "one", "/quit", "two")
    assert len(chat.asked) == 1


def test_help_lists_every_command() -> None:
    shown = talk(ScriptedChat(last_words), "/help")
    assert all(f"/{name}" in shown for name in COMMANDS)
    one = talk(ScriptedChat(last_words), "/help /base")
    assert COMMANDS["base"] in one
    assert COMMANDS["reset"] not in one


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("/sytem x", "Did you mean /system?"),
        ("/xyzzy", "no command /xyzzy. Known:"),
        ("/help bse", "Did you mean /base?"),
    ],
)
def test_a_wrong_command_says_so_and_lists_the_known(typed: str, hint: str) -> None:
    chat = ScriptedChat(last_words)
    shown = talk(chat, typed)
    assert hint in shown
    assert all(f"/{name}" in shown for name in COMMANDS)
    assert chat.asked == []


def test_commands_may_be_typed_in_capitals() -> None:
    assert "forgotten" in talk(ScriptedChat(last_words), "/Reset")


@pytest.mark.parametrize("typed", ["/etc/hosts is a file?", "/ 2", "1 / 2"])
def test_a_slash_that_is_no_command_is_talk(typed: str) -> None:
    chat = ScriptedChat(last_words)
    talk(chat, typed)
    assert chat.asked[0].messages[-1].content == typed


def test_an_error_is_shown_and_its_turn_forgotten() -> None:
    def too_long(request: Request) -> Reply:
        if request.messages[-1].content == "long":
            return Reply(text="The prompt is too long: 9 tokens; 8 fit.", stop_reason="error")
        return last_words(request)

    chat = ScriptedChat(too_long)
    shown = talk(chat, "long", "short")
    assert "9 tokens; 8 fit" in shown
    assert chat.asked[1].messages == (Message("user", "short"),)


def test_a_refusing_endpoint_does_not_end_the_conversation() -> None:
    def refuse(request: Request) -> Reply:
        raise HeedError("The endpoint cannot be reached.", where="http://x", mend="start the server")

    chat = ScriptedChat(refuse)
    shown = talk(chat, "one", "two")
    assert shown.count("mend start the server") == 2


def test_an_interrupt_stops_the_answer_and_keeps_what_was_said() -> None:
    class Interrupted(ScriptedChat):
        def reply(
            self,
            requests: Sequence[Request],
            sampling: Sampling,
            *,
            on_text: Callable[[int, str], None] | None = None,
        ) -> list[Reply]:
            self.asked += requests
            assert on_text is not None
            if len(self.asked) == 1:
                on_text(0, "Once upon")
                raise KeyboardInterrupt
            if len(self.asked) == 2:
                raise KeyboardInterrupt
            return [Reply(text="fine")]

    chat = Interrupted(last_words)
    shown = talk(chat, "tell", "again", "well?")
    assert shown.count("(stopped)") == 2
    assert [message.content for message in chat.asked[2].messages] == ["tell", "Once upon", "well?"]


def test_an_interrupt_at_the_prompt_does_not_leave() -> None:
    class Lines:
        def __init__(self) -> None:
            self.steps: Iterator[str | None] = iter([None, "hello"])

        def __iter__(self) -> Lines:
            return self

        def __next__(self) -> str:
            step = next(self.steps)
            if step is None:
                raise KeyboardInterrupt
            return step

    chat = ScriptedChat(last_words)
    shown: list[str] = []
    terminal_chat(chat, sampling=Sampling(), lines=Lines(), write=shown.append)
    assert len(chat.asked) == 1
    assert "/quit" in "".join(shown)


def test_what_is_not_text_is_told_too() -> None:
    replies = {
        "cut": Reply(text="Once", stop_reason="length"),
        "nothing": Reply(text=""),
        "think": Reply(text="Paris", reasoning="Easy."),
        "call": Reply(text="", tool_calls=(ToolCall("look", {"at": "Zürich"}),)),
    }
    chat = ScriptedChat(lambda request: replies[request.messages[-1].content])
    shown = talk(chat, *replies)
    assert "(cut: 64 tokens" in shown
    assert "(empty answer)" in shown
    assert "(thought: Easy.)" in shown
    assert '(calls look with {"at": "Zürich"})' in shown


def test_markup_in_an_answer_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    chat = ScriptedChat(lambda request: Reply(text="[bold]x[/bold] [1] :smile: \\[a]"))
    terminal_chat(chat, sampling=Sampling(), lines=["go"])
    assert "[bold]x[/bold] [1] :smile: \\[a]" in capsys.readouterr().out


def test_an_answer_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal_chat(ScriptedChat(lambda request: Reply(text="\x1b[2Jgone")), sampling=Sampling(), lines=["go"])
    shown = capsys.readouterr().out
    assert "gone" in shown
    assert "\x1b[2J" not in shown


def test_the_keyboard_ends_with_control_d(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed = iter(["hello", "/base", "x"])
    prompts: list[str] = []

    def fake_input(prompt: str) -> str:
        prompts.append(prompt)
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", fake_input)
    chat, base = ScriptedChat(last_words), ScriptedChat(last_words, name="base")
    terminal_chat(chat, base=lambda: base, sampling=Sampling())
    assert prompts == ["> ", "> ", "base> ", "base> "]
    assert "You said hello" in capsys.readouterr().out

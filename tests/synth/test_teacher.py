"""The model behind a name, and what tells it from others of that name."""

from __future__ import annotations

from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.synth.teacher import named, teacher_of
from tests.eval.scripted import ScriptedChat
from tests.families import checkpoint


def test_whatever_can_be_asked_is_a_teacher(tmp_path: Path) -> None:
    chat = ScriptedChat(lambda request: "yes")
    assert teacher_of(chat, "x", None, 1.0) == (chat, None, None)
    local = teacher_of(checkpoint(tmp_path / "base"), "x", None, 1.0)
    assert (local.chat.name, local.endpoint) == (str(tmp_path / "base"), None)
    assert local.weights
    pytest.importorskip("openai")
    remote = teacher_of("https://ann:secret@example.org:8443/v1?key=hidden", "tiny", None, 1.0)
    assert (remote.chat.name, remote.endpoint, remote.weights) == ("tiny", "https://example.org:8443/v1", None)
    with pytest.raises(HeedError, match="protocol"):
        teacher_of("localhost:8000", "x", None, 1.0)


def test_the_name_of_a_model_stands_behind_its_address(tmp_path: Path) -> None:
    assert named("http://a.example/v1#tiny") == ("http://a.example/v1", "tiny")
    assert named("https://a.example/v1#org/model#2") == ("https://a.example/v1", "org/model#2")
    assert named("http://a.example/v1") == named("http://a.example/v1#") == ("http://a.example/v1", "default")
    assert named(tmp_path / "a#b") == (tmp_path / "a#b", "default")  # a folder may be called so
    chat = ScriptedChat(lambda request: "yes")
    assert named(chat)[0] is chat


def test_a_model_without_a_name_is_known_by_its_address() -> None:
    pytest.importorskip("openai")
    one, other = (teacher_of(f"http://{host}/v1", "default", None, 1.0).who for host in ("a.example", "b.example"))
    assert one != other
    assert (
        teacher_of("http://a.example/v1", "tiny", None, 1.0).who
        == teacher_of("http://b.example", "tiny", None, 1.0).who
    )
    assert teacher_of(ScriptedChat(lambda request: "yes", name="default"), "", None, 1.0).who == "default"

"""An instruction behind the questions of an evaluation: which files, what is refused, in whose frame."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from heedlm.errors import HeedError
from heedlm.instructions.asked import behind, is_instruction
from heedlm.instructions.format import load
from heedlm.instructions.frame import frame_of
from heedlm.instructions.policy import policy_of
from heedlm.messages import Message
from heedlm.model.load import SHIPPED
from heedlm.tokens.tokenizer import load_tokenizer
from tests.instructions.wires import REFUSES

ASKED = (Message("user", "Why is the sky blue?"), Message("assistant", "Because."))


def test_what_is_an_instruction_and_what_a_text(tmp_path: Path) -> None:
    (tmp_path / "plain-words").write_text("Be brief.")
    assert is_instruction("mine.prompty")
    assert is_instruction("plain-words")
    assert is_instruction("heed:plain-words")
    assert not is_instruction(tmp_path / "plain-words")
    assert not is_instruction("system.txt")


def test_an_endpoint_gets_what_a_chat_sends() -> None:
    found = behind("patient-tutor", ["http://127.0.0.1:9/v1#m"])
    turns = found.turns(SimpleNamespace(name="m"))(ASKED)  # type: ignore[arg-type]
    assert tuple(turns) == policy_of(load("patient-tutor")).speak(ASKED).messages
    assert [one.role for one in turns] == ["system", "user", "assistant"]
    assert found.name == " + instruction patient-tutor"
    assert found.told == behind("patient-tutor").told
    assert found.told != behind("plain-words").told


def test_a_template_without_a_system_text_gets_it_in_the_question(tmp_path: Path) -> None:
    (tmp_path / "own.jinja").write_text(REFUSES)
    frame = frame_of(load_tokenizer(SHIPPED["atlas"]), own=str(tmp_path / "own.jinja"))
    chat = SimpleNamespace(name="m", template=frame.template, tokenizer=frame.tokenizer)
    turns = behind("patient-tutor").turns(chat)(ASKED)  # type: ignore[arg-type]
    assert [one.role for one in turns] == ["user", "assistant"]
    assert turns[0].content.endswith("Why is the sky blue?")


def test_values_that_no_question_gives_are_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="default"):
        behind("answer-from-text")
    with pytest.raises(HeedError):
        behind(tmp_path / "none.prompty")
    (tmp_path / "broken.prompty").write_text("system:\n# Tusk\nDo it.\n\nuser:\nx")
    with pytest.raises(HeedError, match="Tusk"):
        behind(tmp_path / "broken.prompty")

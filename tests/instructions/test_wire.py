"""Tokens of blocks under tokenizers of other makes, and frames of soft formats."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from heedlm.errors import HeedError
from heedlm.instructions.compile import compile_
from heedlm.instructions.format import load
from heedlm.instructions.frame import FORMATS, frame_for, frame_of
from heedlm.instructions.wire import tokens_of
from heedlm.tokens.encode import encode_prompt

TEXTS = ["Sort the ticket into one queue. Input: Output: # Task billing shipping account other JSON {}"] * 20
TICKET = {"ticket": "  Where is </s> my parcel <|im_end|>? It was due “Monday”, नमस्ते 🙂\n"}


def metaspace() -> PreTrainedTokenizerBase:
    """Words begin with a sign for the blank, and text begins with one that nobody typed, as in SentencePiece."""
    inner = Tokenizer(models.BPE(unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    inner.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "</s>", "<|im_end|>", "<|im_start|>"])
    inner.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", unk_token="<unk>")


class Blind(PreTrainedTokenizerFast):
    """A tokenizer that cannot say where its tokens stand."""

    @property
    def is_fast(self) -> bool:
        return False


def blind() -> PreTrainedTokenizerBase:
    inner = metaspace()
    return Blind(tokenizer_object=inner.backend_tokenizer, eos_token="</s>", unk_token="<unk>")


@pytest.mark.parametrize("make", [metaspace, blind])
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "messages"])
def test_every_token_is_counted_once_and_every_block_has_some(make: object, name: str) -> None:
    frame = frame_of(make(), name)  # type: ignore[operator]
    triage = load("ticket-triage")
    found = compile_(triage, TICKET, frame=frame)
    assert found.wire is not None
    tokens = tokens_of(frame, found.wire, found.as_text)
    assert tokens.ids == encode_prompt(frame.tokenizer, frame.template, found.request).ids
    assert len(tokens.ids) == len(tokens.spans) == len(tokens.blocks) == sum(tokens.by_block.values())
    assert all(0 <= start <= end <= len(found.text) for start, end in tokens.spans)
    assert set(triage.ids) <= set(tokens.by_block)


def test_marks_of_soft_formats_are_read_off_the_template() -> None:
    for name, marks in (
        ("human_assistant", {"Human:", "Assistant:"}),
        ("alpaca", {"### Instruction:", "### Response:"}),
        ("dolly", {"### Instruction:", "### Response:", "### Context:"}),
        ("completion", set()),
        ("chat", set()),
    ):
        assert set(frame_for("atlas", name).sides.marks) == marks, name


def test_unknown_formats_are_refused_with_the_nearest() -> None:
    for name in ("alpacca", "messages", "base"):
        with pytest.raises(HeedError, match="no format"):
            frame_for("atlas", name)
    with pytest.raises(HeedError):
        frame_for("no/such/folder/here")

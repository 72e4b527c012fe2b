"""The thinking switch follows the examples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.templates.chat import load_template, render, segments
from heedlm.templates.settle import settle

from . import wires
from .wires import MULTI, SINGLE, THINKING, make_tokenizer, user

MIXED = [SINGLE, THINKING]


@pytest.fixture
def tokenizer():
    return make_tokenizer(added=("<think>", "</think>"))


def load(tmp_path: Path, source: str, tokenizer):
    path = tmp_path / "wire.jinja"
    path.write_text(source, encoding="utf-8")
    return load_template(str(path), tokenizer)


@pytest.mark.parametrize("source", [wires.OPENS, wires.THINKS])
def test_examples_without_thinking_switch_it_off_everywhere(tmp_path, tokenizer, source):
    template = settle(load(tmp_path, source, tokenizer), tokenizer, [SINGLE, MULTI])
    assert "enable_thinking=false" in template.note
    for sequence in segments(template, tokenizer, MULTI):
        learned = "".join(segment.text for segment in sequence if segment.weight)
        assert learned in (
            "Canberra.<|im_end|>",
            "Canberra.<|im_end|>Canberra.<|im_end|>user<|im_end|>",
            "user<|im_end|>",
        )
        prompt = render(template, tokenizer, [user("U")], add_generation_prompt=True)
        assert prompt.endswith("assistant\n" if source == wires.OPENS else "</think>\n\n")


@pytest.mark.parametrize("examples", [[THINKING], MIXED, []])
def test_a_template_that_fits_is_left_alone(tmp_path, tokenizer, examples):
    template = load(tmp_path, wires.THINKS, tokenizer)
    assert settle(template, tokenizer, examples) is template


def test_a_template_without_a_switch_is_left_alone_and_still_refuses(tmp_path, tokenizer):
    template = load(tmp_path, wires.OPENS_ALWAYS, tokenizer)
    assert settle(template, tokenizer, [SINGLE]) is template
    with pytest.raises(HeedError):
        segments(template, tokenizer, SINGLE)


def test_an_example_keeps_the_switch_that_it_sets_itself(tmp_path, tokenizer):
    template = load(tmp_path, wires.OPENS, tokenizer)
    row = replace(SINGLE, template_kwargs={"enable_thinking": False})
    assert settle(template, tokenizer, [row]) is template

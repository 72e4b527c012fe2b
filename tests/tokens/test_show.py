"""What the model will see, as a person sees it."""

from __future__ import annotations

import io

from rich.console import Console

from heedlm.messages import Example, Message
from heedlm.templates.chat import load_template
from heedlm.tokens.show import show, show_plain, shown_sequences

from .samples import blank_first_tokenizer, make_tokenizer, rows

TOKENIZER = make_tokenizer()
CHATML = load_template("chatml", TOKENIZER)
ROWS = rows(("hi [bold]there[/bold]", "Paris [red]"), ("b", "c"), ("d", "e"))


def test_learned_text_stands_in_double_brackets_and_tokens_are_counted():
    (shown,) = shown_sequences(CHATML, TOKENIZER, rows(("hi", "Paris")), 1)
    learned = TOKENIZER("Paris<|im_end|>", add_special_tokens=False)["input_ids"]
    assert shown.num_learned == len(learned)
    assert show_plain(CHATML, TOKENIZER, rows(("hi", "Paris")), 1) == (
        f"row-1 (rows.jsonl:1): {shown.num_tokens} tokens, {len(learned)} learned\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n[[Paris<|im_end|>]]\n\n"
    )


def test_as_many_as_asked_are_shown_and_no_more():
    for limit, shown in ((0, 0), (1, 1), (3, 3), (4, 3)):
        assert len(shown_sequences(CHATML, TOKENIZER, ROWS, limit)) == shown
    assert len(shown_sequences(CHATML, TOKENIZER, iter(ROWS), 2)) == 2
    assert show_plain(CHATML, TOKENIZER, [], 5) == ""


def test_colours_mark_the_learned_part_and_brackets_of_the_text_stay_text():
    out = io.StringIO()
    Console(file=out, force_terminal=True, width=200, color_system="standard").print(show(CHATML, TOKENIZER, ROWS, 1))
    assert "\x1b[1;32mParis [red]<|im_end|>\x1b[0m" in out.getvalue()
    assert "hi [bold]there[/bold]<|im_end|>" in out.getvalue()


def test_the_pieces_are_the_whole_text_even_where_a_tokenizer_drops_blanks_when_decoding():
    tokenizer = blank_first_tokenizer()
    template = load_template("human_assistant", tokenizer)
    (shown,) = shown_sequences(template, tokenizer, rows(("a", "Paris is")), 1)
    assert shown.pieces == (("Human: a\n\nAssistant:", False), (" Paris is</s>", True))


def test_sequences_of_one_example_are_numbered():
    tokenizer = make_tokenizer()
    template = load_template("base", tokenizer)
    messages = (
        Message("user", "What is the capital of Fra"),
        Message("assistant", "nce?"),
        Message("user", "The capital of Fra"),
        Message("assistant", "nce is Paris."),
    )
    titles = [one.title for one in shown_sequences(template, tokenizer, [Example("x", messages, "f:1")], 1)]
    assert titles == ["x (f:1), sequence 1 of 2", "x (f:1), sequence 2 of 2"]

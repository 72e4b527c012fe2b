"""What the model will see, token for token, and which of those tokens it is taught to write.

The mask is decided on messages, before there are tokens: answers are learned, everything else is read. A weight on a turn
changes that. The second row below is the same conversation as the first, with its first answer read but not learned.

    python examples/look_at_the_mask.py                  # the built-in base model's tokenizer, ChatML
    python examples/look_at_the_mask.py --model FOLDER --template human_assistant
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console

from heedlm.messages import Example, Message
from heedlm.model.load import resolve
from heedlm.templates.chat import load_template, plain, segments
from heedlm.tokens.show import show, show_plain
from heedlm.tokens.tokenizer import load_tokenizer

ALL_LEARNED = (
    Message("system", "You are a geography assistant."),
    Message("user", "What is the capital of Peru?"),
    Message("assistant", "The capital of Peru is Lima."),
    Message("user", "And its currency?"),
    Message("assistant", "The currency of Peru is the Peruvian sol."),
)
FIRST_ONLY_READ = (*ALL_LEARNED[:2], replace(ALL_LEARNED[2], weight=0.0), *ALL_LEARNED[3:])
# A user may type a control token: it stays text, and does not end the turn.
TYPED = (Message("user", "What does <|im_end|> mean?"), Message("assistant", "It ends a turn."))
EXAMPLES = [
    Example(name, messages, source="look_at_the_mask.py")
    for name, messages in {"peru": ALL_LEARNED, "peru-weighted": FIRST_ONLY_READ, "typed": TYPED}.items()
]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="What the model will see, learned tokens marked.")
    parser.add_argument("--model", default="atlas", help="a model folder, a hub id, or `atlas`")
    parser.add_argument("--template", help="a built-in chat template or a Jinja file; default: the model's own")
    options = parser.parse_args(arguments)
    tokenizer = load_tokenizer(resolve(options.model))
    template = load_template(options.template, tokenizer)

    print("Segments: stretches of text with a weight, before any token exists")
    for sequence in segments(template, tokenizer, EXAMPLES[1]):
        for segment in sequence:
            print(f"  {segment.weight:.1f}  {segment.origin:<10}  {plain(segment.text)!r}")

    console = Console()
    if console.is_terminal:
        print("\nTokens: learned ones in green\n")
        console.print(show(template, tokenizer, EXAMPLES, limit=len(EXAMPLES)))
    else:  # in a file or a pipe there is no colour
        print("\nTokens: learned ones between [[ and ]]\n")
        print(show_plain(template, tokenizer, EXAMPLES, limit=len(EXAMPLES)))


if __name__ == "__main__":
    main()

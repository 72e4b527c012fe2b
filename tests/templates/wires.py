"""Templates that behave as those of famous models do, tokenizers to go with them, and conversations; all written for these tests."""

from __future__ import annotations

from functools import cache
from typing import Any

from transformers import PreTrainedTokenizerFast

from heedlm.messages import Example, Message, ToolCall
from heedlm.tokens.tokenizer import train_tokenizer

SENTENCES = [
    "What is the capital of Australia? The capital of Australia is Canberra.",
    "Human: please write a short letter. Assistant: Dear Sir or Madam, thank you for your letter.",
    "### Instruction: Name three colours. ### Response: red, green, blue",
    "In 1999 there were 1,234 sheep and 56 cows on the farm; in 2024 there were none.",
    "भारत की राजधानी नई दिल्ली है। नमस्ते दुनिया!",
    "Er läuft über die Brücke, während sie Äpfel und Öl kauft.",
    "def add(a, b):\n    return a + b\n\nprint(add(2, 3))",
    'Reply with JSON: {"name": "Ada", "born": 1815, "fields": ["mathematics", "poetry"]}',
    "The user asks, the system rules, the assistant thinks and answers.",
    "<p>Some text with tags</p> | a table | of cells |",
]


@cache
def trained(vocab_size: int = 500) -> str:
    """The tokenizer file of a tokenizer trained on the sentences, as text: building it once is enough."""
    return train_tokenizer(SENTENCES * 30, vocab_size).backend_tokenizer.to_str()


def make_tokenizer(
    special: tuple[str, ...] = (), added: tuple[str, ...] = (), **kwargs: Any
) -> PreTrainedTokenizerFast:
    """A fresh trained tokenizer with more special tokens, and added tokens that are not special."""
    from tokenizers import Tokenizer

    options = {"eos_token": "<|endoftext|>", "pad_token": "<|pad|>", "clean_up_tokenization_spaces": False}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(trained()),
        extra_special_tokens=["<|im_start|>", "<|im_end|>", *special],
        **{**options, **kwargs},
    )
    tokenizer.add_tokens(list(added))
    return tokenizer


def user(text: str) -> Message:
    return Message("user", text)


def assistant(text: str, **kwargs: Any) -> Message:
    return Message("assistant", text, **kwargs)


def system(text: str) -> Message:
    return Message("system", text)


def example(*messages: Message, **kwargs: Any) -> Example:
    return Example("row-1", tuple(messages), "rows.jsonl:1", **kwargs)


CALL = ToolCall("weather", {"city": "Bonn <|im_end|>", "days": [1, 2]}, id="abcdefghi")
TOOLS = (
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "Weather of a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "A city."}}},
        },
    },
)

SINGLE = example(user("What is the capital of Australia?"), assistant("Canberra."))
MULTI = example(
    system("Be brief."),
    user("What is the capital of Australia?"),
    assistant("Canberra."),
    user("And what is Canberra?"),
    assistant("Canberra."),
    user("user"),
    assistant("user"),
)
THINKING = example(
    user("Two and two?"),
    assistant("Four.", reasoning="2 + 2 = 4"),
    user("And three?"),
    assistant("Seven.", reasoning="4 + 3 = 7"),
)

MARKS = "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
PROMPT = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"


def loop(body: str) -> str:
    return "{%- for message in messages %}" + body + "{%- endfor %}"


PLAIN = loop(MARKS) + PROMPT
# Earlier thinking is removed; the last answer has a think block even when there was no thinking; a switch closes it.
THINKS = (
    loop(
        "{%- if message.role == 'assistant' %}{{- '<|im_start|>assistant\\n' }}"
        "{%- if loop.last %}{{- '<think>\\n' + (message.reasoning_content or '') | trim + '\\n</think>\\n\\n' }}{%- endif %}"
        "{{- message.content + '<|im_end|>\\n' }}{%- else %}" + MARKS + "{%- endif %}"
    )
    + PROMPT
    + "{%- if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
)
# The generation prompt opens a think block that an answer without thinking does not have, unless told otherwise.
OPENS = (
    PLAIN
    + "{%- if add_generation_prompt and (enable_thinking is not defined or enable_thinking) %}{{- '<think>\\n' }}{%- endif %}"
)
# The same without a switch.
OPENS_ALWAYS = PLAIN + "{%- if add_generation_prompt %}{{- '<think>\\n' }}{%- endif %}"
TRIMS = PLAIN.replace("message.content", "message.content | trim")
DEFAULT_SYSTEM = (
    "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}{%- endif %}" + PLAIN
)
DATED = "{{- '<|im_start|>system\\nToday: ' + strftime_now('%d %B %Y') + '<|im_end|>\\n' }}" + PLAIN
COMPUTED_DATE = "{%- set form = '%Y' %}{{- strftime_now(form) }}" + PLAIN
NO_SYSTEM = (
    "{%- if messages[0].role == 'system' %}{{- raise_exception('System role not supported') }}{%- endif %}" + PLAIN
)
DROPS_SYSTEM = loop("{%- if message.role != 'system' %}" + MARKS + "{%- endif %}") + PROMPT
ALTERNATES = (
    loop(
        "{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{- raise_exception('roles must alternate user and assistant') }}{%- endif %}" + MARKS
    )
    + PROMPT
)
# Nothing behind an answer; the next turn's mark ends it.
UNCLOSED = (
    loop("{{- '<|' + message.role + '|>\\n' + message.content }}")
    + "{%- if add_generation_prompt %}{{- '<|assistant|>\\n' }}{%- endif %}"
)
# A terminator between turns only, none behind the last.
CLOSED_BETWEEN = (
    loop(
        "{{- '<|' + message.role + '|>\\n' + message.content }}"
        "{%- if not loop.last %}{{- '<|im_end|>\\n' }}{%- endif %}"
    )
    + "{%- if add_generation_prompt %}{{- '<|im_end|>\\n<|assistant|>\\n' }}{%- endif %}"
)
LAST_TAIL = (
    loop(MARKS)
    + "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- else %}{{- eos_token }}{%- endif %}"
)
BOS = "{{- bos_token }}" + PLAIN
DOUBLE_BOS = "{{- bos_token + bos_token }}" + PLAIN
BOS_PER_TURN = loop(
    "{%- if message.role == 'user' %}{{- bos_token + '[INST] ' + message.content + ' [/INST]' }}"
    "{%- else %}{{- ' ' + message.content + ' ' + eos_token }}{%- endif %}"
)
NO_GENERATION_PROMPT = loop(MARKS)
CHANGES_TEXT = PLAIN.replace("message.content", "message.content | upper")

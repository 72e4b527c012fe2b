"""Chat templates with one habit each: they drop, refuse or put in a system text, or have a place for reasoning."""

from __future__ import annotations

TURN = "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endfor %}"
OPEN = "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
DROPS = (
    TURN.replace("{%- for message in messages %}", "{%- for message in messages if message.role != 'system' %}") + OPEN
)
REFUSES = "{%- if messages[0].role == 'system' %}{{- raise_exception('no system') }}{%- endif %}" + TURN + OPEN
PUTS_IN = (
    "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}{%- endif %}"
    + TURN
    + OPEN
)
THINKS = (
    TURN.replace(
        "+ message.content +",
        "+ ('<think>' + message.reasoning_content + '</think>' if message.reasoning_content else '') + message.content +",
    )
    + OPEN
)
THINKING = THINKS.replace("assistant\\n' }}{%- endif", "assistant\\n<think>' }}{%- endif")
SOFT = (
    "{%- for message in messages %}{{- '<|turn>' + message.role + '\\n' + message.content + '<turn|>\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|turn>assistant\\n' }}{%- endif %}"
)

"""The Modelfile: what Ollama would render is what the chat template renders, and its own language agrees."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.exports import go_template, modelfile
from heedlm.exports.modelfile import Modelfile
from heedlm.exports.prompts import conversations
from heedlm.exports.source import Source, open_source
from heedlm.exports.turns import turns_of
from heedlm.messages import Message
from heedlm.templates.chat import BUILT_IN
from heedlm.templates.render import render
from tests.exports.makers import bytes_tokenizer, pieces_tokenizer, saved

LLAMA2 = (
    "{% if messages[0].role == 'system' %}{% set s = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set s = '' %}{% endif %}{% for m in messages %}"
    "{% if m.role == 'user' %}{{ bos_token + '[INST] ' + (s if loop.first else '') + m.content + ' [/INST]' }}"
    "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0].role != 'system' %}<|im_start|>system\nYou help.<|im_end|>\n{% endif %}{% for m in messages %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMS = DEFAULT_SYSTEM.replace("m.content", "m.content | trim")
NO_SYSTEM = DEFAULT_SYSTEM.replace(
    "{% for", "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}{% for", 1
)
LAST_TURN = (
    "{% for m in messages %}{% if loop.last %}[LAST]{% endif %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BRACES = (
    "{% for m in messages %}<|im_start|>{{ '{{' + m.role + '}}' }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>"
)
TALK = [
    [Message("user", "One?")],
    [Message("system", "Be brief."), Message("user", "One?")],
    [
        Message("system", "Be {{ brief }}."),
        Message("user", 'Say "{{ .Content }}"'),
        Message("assistant", "Two\n"),
        Message("user", "Three?"),
        Message("assistant", "Four"),
        Message("user", "Five?"),
    ],
]


def source_of(folder: Path, template: str) -> Source:
    """A model whose template is Jinja text, or built in."""
    saved(folder, pieces_tokenizer() if template == LLAMA2 else bytes_tokenizer("qwen2"))
    if template in BUILT_IN:
        return saved(folder, bytes_tokenizer("qwen2"), template=template)
    (folder / "chat_template.jinja").write_text(template)
    return open_source(folder)


@pytest.mark.parametrize("template", [*BUILT_IN, LLAMA2, DEFAULT_SYSTEM, NO_SYSTEM, TRIMS, BRACES])
def test_it_writes_what_the_chat_template_writes(template: str, tmp_path: Path) -> None:
    source = source_of(tmp_path, template)
    turns = turns_of(source)
    assert turns.trims == (template == TRIMS)
    text = go_template.written(turns)
    for messages in TALK:
        if template == NO_SYSTEM and messages[0].role == "system":
            assert ("", "system") not in turns.between
            continue
        if turns.trims:
            messages = [Message(one.role, one.content.strip()) for one in messages]
        wanted = render(source.template, source.tokenizer, messages, add_generation_prompt=True)
        assert go_template.execute(text, modelfile.collated(messages)) == wanted


def test_a_template_that_is_more_than_text_between_turns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="otherwise where there are several"):
        turns_of(source_of(tmp_path, LAST_TURN))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
@pytest.mark.parametrize("template", ["chatml", "human_assistant", LLAMA2, DEFAULT_SYSTEM, BRACES])
def test_go_itself_writes_the_same(template: str, tmp_path: Path) -> None:
    """The language's own engine, with the values that Ollama gives it."""
    text = go_template.written(turns_of(source_of(tmp_path / "model", template)))
    program = """package main
import ("encoding/json"; "os"; "text/template")
func main() {
  var in struct { Template string; Talks [][]map[string]string }
  json.NewDecoder(os.Stdin).Decode(&in)
  t := template.Must(template.New("").Option("missingkey=zero").Parse(in.Template))
  for _, talk := range in.Talks {
    if err := t.Execute(os.Stdout, map[string]any{"Messages": talk, "System": "", "Response": ""}); err != nil { panic(err) }
    os.Stdout.Write([]byte{0})
  }
}"""
    (tmp_path / "main.go").write_text(program)
    talks = [modelfile.collated(messages) for messages in TALK]
    done = subprocess.run(
        ["go", "run", "main.go"],
        input=json.dumps({"Template": text, "Talks": talks}).encode(),
        capture_output=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin:/usr/local/go/bin", "GOCACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)},
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split("\0")[:-1] == [go_template.execute(text, talk) for talk in talks]


def test_a_modelfile_reads_back() -> None:
    file = Modelfile("model-f16.gguf", 'a {{ "b" }}\n\tc "d" ', ("<|im_end|>", "\n\nHuman:"), 4096, 0.5)
    assert modelfile.from_text(modelfile.to_text(file, "two\nlines")) == file


@pytest.mark.parametrize("text", ['x """ y', "x \u200d y", "x \x07"])
def test_what_a_modelfile_cannot_quote_is_refused(text: str) -> None:
    with pytest.raises(HeedError, match="cannot say"):
        modelfile.to_text(Modelfile("m.gguf", text, (), 8), "about")


def test_neighbours_of_one_role_become_one() -> None:
    messages = [
        Message("user", "a"),
        Message("user", "b"),
        Message("assistant", "c"),
        Message("tool", "d"),
        Message("tool", "e"),
    ]
    assert [one["Content"] for one in modelfile.collated(messages)] == ["a\n\nb", "c", "d", "e"]
    assert modelfile.collated([]) == []


@pytest.mark.parametrize("template", ["{{ if ne .A .B }}x{{ end }}", "{{ .Nothing }}", "{{ printf .A }}"])
def test_what_we_did_not_write_is_not_carried_out(template: str) -> None:
    with pytest.raises(HeedError):
        go_template.execute(template, [])


def test_conversations_come_from_the_rows_of_a_run_too(tmp_path: Path) -> None:
    source = saved(tmp_path, bytes_tokenizer("qwen2"))
    assert len(conversations(source, 1)) == 1
    assert len(conversations(source, 99)) == len(conversations(source, 200)) > 10

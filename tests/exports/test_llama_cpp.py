"""llama.cpp itself on the files that heed writes: the same ids, the same predictions. Needs llama-cpp-python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from heedlm.exports import hf
from heedlm.exports.gguf_file import read_contents, write_gguf
from heedlm.exports.prompts import conversations
from heedlm.exports.readings import SPLITS, Vocabulary, prompt_ids, reading
from heedlm.exports.shapes import shape_of
from heedlm.exports.source import Source
from heedlm.exports.vocabulary import _TELLING, vocabulary_of
from tests.exports.makers import bytes_tokenizer, pieces_tokenizer, saved
from tests.exports.test_gguf_file import LLAMA3

pytest.importorskip("gguf")
llama_cpp = pytest.importorskip("llama_cpp")
pytestmark = pytest.mark.slow
TEXTS = [*_TELLING, "", "a", " ", "\n", "<|im_start|>user\nhi<|im_end|>\n", "<think>\nno\n</think>", "🙂 1,234.5 ok"]


def written(source: Source, path: Path, **changed: Any) -> Vocabulary:
    from dataclasses import replace

    model = hf.load_source(source)
    shape = shape_of(model.config, source.folder)
    rows = int(model.get_input_embeddings().weight.shape[0])
    vocabulary = replace(vocabulary_of(source, rows, conversations(source, 12))[0], **changed)
    write_gguf(path, model, shape, vocabulary, template=source.template.source, weights="f32", about={"name": "small"})
    return read_contents(path).vocabulary


def theirs(model: Any, text: str, add_bos: bool) -> list[int]:
    return list(model.tokenize(text.encode(), add_bos=add_bos, special=True))


@pytest.mark.parametrize("split", sorted(SPLITS))
def test_every_split_reads_as_llama_cpp_does(split: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "model", bytes_tokenizer("qwen2"))
    vocabulary = written(source, tmp_path / "one.gguf", pre=split)
    model = llama_cpp.Llama(str(tmp_path / "one.gguf"), vocab_only=True, verbose=False)
    read = reading(vocabulary)
    for text in [*TEXTS, *(one.text for one in conversations(source, 24))]:
        assert theirs(model, text, False) == read(text), text


@pytest.mark.parametrize("space", [True, False])
def test_pieces_are_merged_as_llama_cpp_does(space: bool, tmp_path: Path) -> None:
    source = saved(tmp_path / "model", pieces_tokenizer(space), template="human_assistant")
    vocabulary = written(source, tmp_path / "one.gguf")
    model = llama_cpp.Llama(str(tmp_path / "one.gguf"), vocab_only=True, verbose=False)
    read = reading(vocabulary)
    for text in [*TEXTS, "a</s>b <s> c", *(one.text for one in conversations(source, 24))]:
        assert theirs(model, text, False) == read(text), text
    for one in conversations(source, 6):
        found = theirs(model, one.text.removeprefix("<s>"), True)
        assert found == prompt_ids(vocabulary, read, one.text) == list(one.ids)


@pytest.mark.parametrize(
    ("family", "more"),
    [
        ("llama", {}),
        ("llama", {"attention_bias": True, "mlp_bias": True}),
        ("llama", {"rope_parameters": LLAMA3}),
        ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}}),
        ("mistral", {"sliding_window": None}),
        ("qwen2", {}),
        ("qwen3", {"tie_word_embeddings": True}),
    ],
)
def test_llama_cpp_predicts_what_the_model_predicts(family: str, more: dict[str, object], tmp_path: Path) -> None:
    source = saved(tmp_path / "model", bytes_tokenizer("qwen2"), family, **more)
    written(source, tmp_path / "one.gguf")
    # Keys and values in fp32: llama.cpp keeps them in f16 otherwise.
    model = llama_cpp.Llama(
        str(tmp_path / "one.gguf"), n_ctx=128, logits_all=True, verbose=False, n_threads=1, type_k=0, type_v=0
    )
    for one in conversations(source, 6):
        ids = list(one.ids)[:100]
        model.reset()
        model.eval(ids)
        with torch.no_grad():
            mine = hf.load_source(source)(input_ids=torch.tensor([ids])).logits[0]
        found = torch.tensor(model.scores[: len(ids)])
        assert float((mine - found).abs().max()) < 1e-2 * float(mine.abs().max())
        assert float((mine.argmax(-1) == found.argmax(-1)).float().mean()) > 0.97


def test_llama_cpp_stops_and_answers_greedily_as_we_do(tmp_path: Path) -> None:
    from heedlm.generate.chat import load_chat
    from heedlm.messages import Sampling

    source = saved(tmp_path / "model", bytes_tokenizer("qwen2"), "qwen2")
    vocabulary = written(source, tmp_path / "one.gguf")
    model = llama_cpp.Llama(str(tmp_path / "one.gguf"), n_ctx=128, verbose=False, n_threads=1, type_k=0, type_v=0)
    assert set(vocabulary.ends) == set(source.stops)
    one = conversations(source, 1)[0]
    mine = load_chat(tmp_path / "model").reply([one.request], Sampling(max_tokens=24))[0]
    found: list[int] = []
    for token in model.generate(list(one.ids), temp=0.0, repeat_penalty=1.0):
        found.append(int(token))
        if len(found) == len(mine.ids) or token in source.stops:
            break
    assert tuple(found) == mine.ids

"""A folder that transformers, vLLM and lm-eval load: the merged model, or the adapter alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedlm.errors import HeedError
from heedlm.exports.parity import Drift, Parity, compare, compare_ids, witness
from heedlm.exports.prompts import Told
from heedlm.exports.source import Source
from heedlm.messages import Message
from heedlm.model.load import load_model, resolve_here, stored_dtype
from heedlm.model.save import save_result
from heedlm.model.vocabulary import make_room
from heedlm.runs import write_json

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

DTYPES = ("float32", "bfloat16", "float16")


def load_source(source: Source) -> PreTrainedModel:
    """The model in fp32, with a row for every token."""
    model = load_model(source.folder)
    make_room(model, source.tokenizer)
    return model.eval()


def write_merged(
    source: Source, folder: Path, dtype: str | None, told: Sequence[Told], answers: Sequence[Sequence[int]]
) -> Drift:
    """The whole model in `dtype`, by default the one that it is stored in; how far it is from the source, read back."""
    import torch

    model = load_source(source)
    chosen: torch.dtype = stored_dtype(source.folder) if dtype is None else getattr(torch, dtype)
    seen = witness(model, told, answers)
    kept: list[Drift] = []

    def measure(again: PreTrainedModel) -> Mapping[str, Any]:
        kept.append(compare(seen, again))
        return {}

    save_result(
        model,
        source.tokenizer,
        folder,
        dtype=chosen,
        chat_template=source.template.source,
        stop_ids=source.stops,
        facts={key: value for key, value in source.card.items() if key not in ("version", "kind")},
        measure=measure,
    )
    return kept[0]


def adapter_of(source: Source) -> Path:
    """The folder of the run's adapter. Raises HeedError where there is none."""
    if source.run is not None and (source.run.adapter / "adapter_config.json").is_file():
        return source.run.adapter
    raise HeedError(
        "There is no adapter here: the model was tuned in full.",
        source.name,
        "leave --adapter away; or tune with --set model.method=lora",
    )


def write_adapter(
    source: Source, folder: Path, told: Sequence[Told], answers: Sequence[Sequence[int]]
) -> tuple[Drift | None, tuple[str, ...]]:
    """The adapter with tokenizer, template and stop ids; compared, over its base, with the merged model of the run."""
    held = adapter_of(source)
    shutil.copytree(held, folder, ignore=shutil.ignore_patterns("*.bin", "*.pt", "README.md"))
    source.tokenizer.chat_template = source.template.source
    source.tokenizer.save_pretrained(folder)
    write_json(folder / "generation_config.json", {"eos_token_id": list(source.stops), "do_sample": False})
    base = str(source.card.get("base", ""))
    here = resolve_here(base) if base else None
    if here is None:
        return None, (f"The base {base!r} is not on this machine: the adapter was not compared with the merged model.",)
    from peft import PeftModel

    seen = witness(load_source(source), told, answers)
    under = load_model(here)
    make_room(under, source.tokenizer)
    adapted: Any = PeftModel.from_pretrained(under, str(folder)).eval()
    return compare(seen, adapted), ()


def parity(source: Source, folder: Path, told: Sequence[Told]) -> Parity:
    """Ids as transformers and vLLM make them: the folder's own tokenizer and template, nothing of heed between."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folder)

    def read(one: Told) -> Sequence[int]:
        ids = theirs.apply_chat_template(
            [plain_message(message) for message in one.request.messages],
            tools=[dict(tool) for tool in one.request.tools] or None,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            **one.request.template_kwargs,
        )
        return list(ids)

    return compare_ids(source, told, read)


def plain_message(message: Message) -> dict[str, Any]:
    """A message in the words of OpenAI's API, as a client sends it."""
    wire: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning is not None:
        wire["reasoning_content"] = message.reasoning
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "type": "function",
                **({"id": call.id} if call.id is not None else {}),
                "function": {"name": call.name, "arguments": dict(call.arguments)},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    return wire

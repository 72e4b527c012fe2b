"""The stage `export`: a model in another form, proved against its source, in a folder of its own."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from heedlm.errors import HeedError, nearest
from heedlm.exports import hf
from heedlm.exports.card import base_licence, model_card, title
from heedlm.exports.folder import check_place, placed, size_text, write_record
from heedlm.exports.parity import Drift, Parity
from heedlm.exports.prompts import Told, conversations
from heedlm.exports.source import Source, open_source
from heedlm.runs import write_text
from heedlm.tokens.encode import continuation_ids

if TYPE_CHECKING:
    from heedlm.exports.gguf_file import Weights

Form = Literal["hf", "gguf", "ollama"]
FORMS: tuple[Form, ...] = ("hf", "gguf", "ollama")
PROMPTS = 48
USUAL_CONTEXT = 8192  # tokens that a runtime reserves memory for, unless told otherwise
_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export found. placed: the folder is there; where ids differ it is not, unless that was allowed.

    files: bytes by name.   drift: None where nothing was compared.   notes: what people should know.   use: commands.
    """

    to: Form
    folder: Path
    placed: bool
    files: dict[str, int]
    parity: Parity
    drift: Drift | None
    notes: tuple[str, ...]
    use: tuple[str, ...]


class _Refused(Exception):
    """Leaves the folder unwritten where ids differ."""


@dataclass(slots=True)
class _Work:
    """What one export carries from its writing to its card."""

    source: Source
    told: list[Told]
    answers: list[list[int]]
    say: Say
    notes: list[str]
    drift: Drift | None = None
    parity: Parity | None = None
    use: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()


def export(
    name: str | Path,
    to: Form,
    *,
    out: str | Path | None = None,
    weights: Weights | None = None,
    adapter: bool = False,
    template: str | None = None,
    prompts: int = PROMPTS,
    allow_other_ids: bool = False,
    force: bool = False,
    say: Say = lambda line: None,
) -> Exported:
    """Write `name` in the form `to` under `out`, and compare it with its source on `prompts` rendered prompts.

    weights: kind of number; by default those of the source (hf), or f16.   adapter: hf only, the adapter alone.
    template: for a model that has none of its own.   allow_other_ids: keep an export that reads some prompts otherwise.
    Raises HeedError for what cannot be exported, and for a place that is taken unless `force`.
    """
    _check(to, weights, adapter, prompts)
    source = open_source(name, template)
    place = Path(out) if out is not None else default_place(source, to, adapter)
    place = place if place.name not in ("", "..") else place.resolve()
    check_place(place, Path(source.folder), force=force)
    told = conversations(source, prompts)
    if not told:
        raise HeedError("The chat template refuses every prompt of the parity test.", source.folder, "--template NAME")
    answers = [continuation_ids(source.tokenizer, one.answer) if one.answer else [] for one in told]
    work = _Work(source, told, answers, say, [])
    files: dict[str, int] = {}
    try:
        with placed(place) as folder:
            _write(work, to, folder, weights, adapter)
            assert work.parity is not None, "every form is compared"
            if not work.parity.passed and not allow_other_ids:
                raise _Refused
            form = "adapter" if adapter else to
            found = [
                ("ids", str(work.parity)),
                *([("predictions", str(work.drift))] if work.drift else []),
                *work.facts,
            ]
            usage = "```bash\n" + "\n".join(_at(work.use, Path())) + "\n```\n"
            notes = "".join(f"\n- {note}" for note in work.notes)
            write_text(folder / "README.md", model_card(source, form, found, usage + notes))
            write_record(folder, _record(work, to))
            files |= {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    except _Refused:
        pass
    parity = work.parity
    assert parity is not None
    return Exported(to, place, bool(files), files, parity, work.drift, tuple(work.notes), _at(work.use, place))


def _record(work: _Work, to: Form) -> dict[str, Any]:
    """What export.json holds."""
    from heedlm import __version__

    assert work.parity is not None, "every form is compared"
    return {
        "heed": __version__,
        "to": to,
        "source": title(work.source.name),
        "parity": asdict(work.parity),
        "drift": asdict(work.drift) if work.drift else None,
        "notes": work.notes,
    }


def default_place(source: Source, to: Form, adapter: bool) -> Path:
    """Beside the run's model, or under exports/ for a model that no run made."""
    kind = "adapter" if adapter else to
    name = Path(source.name).name or source.name
    return source.run.root / "export" / kind if source.run is not None else Path("exports") / f"{name}-{kind}"


def _check(to: Form, weights: Weights | None, adapter: bool, prompts: int) -> None:
    if to not in FORMS:
        raise HeedError(f"heed exports to {', '.join(FORMS)}; not to {to!r}.", "--to", nearest(to, FORMS))
    if adapter and to != "hf":
        raise HeedError(
            f"An adapter alone cannot be exported to {to}.", "--adapter", "leave --adapter away: it is merged"
        )
    if to == "hf" and weights is not None and weights not in _DTYPES:
        what = f"A Hugging Face folder holds {', '.join(_DTYPES)}; not {weights!r}."
        raise HeedError(what, "--weights", nearest(weights, _DTYPES))
    if adapter and weights is not None:
        raise HeedError("An adapter keeps its own numbers.", "--weights", "leave --weights away")
    if prompts < 1:
        raise HeedError("The parity test needs a prompt.", "--prompts", "--prompts 16")
    if to != "hf":
        from heedlm.exports.gguf_file import WEIGHTS, check_gguf

        if weights is not None and weights not in WEIGHTS:
            what = f"heed writes GGUF in {', '.join(WEIGHTS)}; not in {weights!r}."
            raise HeedError(what, "--weights", nearest(weights, WEIGHTS))
        check_gguf()


def _write(work: _Work, to: Form, folder: Path, weights: Weights | None, adapter: bool) -> None:
    if to == "hf":
        _write_hf(work, folder, weights, adapter)
    else:
        _write_gguf(work, folder, weights or "f16", ollama=to == "ollama")


def _write_hf(work: _Work, folder: Path, weights: Weights | None, adapter: bool) -> None:
    source = work.source
    if adapter:
        work.say("the adapter is copied and compared with the merged model")
        work.drift, notes = hf.write_adapter(source, folder, work.told, work.answers)
        work.notes += notes
        base = source.card.get("base", "BASE")
        work.use = (
            f"vllm serve {base} --enable-lora --lora-modules {_served(source)}={{place}} "
            "--chat-template {place}/chat_template.jinja",
            f"lm_eval --model hf --model_args pretrained={base},peft={{place}} --tasks ifeval --apply_chat_template",
        )
    else:
        work.say("the model is written, read back and compared")
        dtype = None if weights is None else _DTYPES[weights]
        work.drift = hf.write_merged(source, folder, dtype, work.told, work.answers)
        work.use = (
            f"vllm serve {{place}} --served-model-name {_served(source)}",
            "lm_eval --model hf --model_args pretrained={place} --tasks ifeval --apply_chat_template",
            "heed chat {place}",
        )
    work.parity = hf.parity(source, folder, work.told)


def _write_gguf(work: _Work, folder: Path, weights: Weights, *, ollama: bool) -> None:
    from heedlm.exports import gguf_file, ollama_file
    from heedlm.exports.parity import compare, compare_ids, witness
    from heedlm.exports.readings import prompt_ids, reading
    from heedlm.exports.shapes import shape_of
    from heedlm.exports.vocabulary import vocabulary_of

    source, template = work.source, work.source.template.source
    model = hf.load_source(source)
    shape = shape_of(model.config, source.folder)
    vocabulary, notes = vocabulary_of(source, int(model.get_input_embeddings().weight.shape[0]), work.told)
    file = folder / f"model-{weights}.gguf"
    folder.mkdir(parents=True)
    about = {
        "name": Path(source.name).name,
        "description": "tuned with heed",
        "license": base_licence(str(source.card.get("base", ""))),
    }
    work.say(f"{file.name}: {shape.arch}, {shape.layers} layers, tokenizer {vocabulary.model} ({vocabulary.pre})")
    seen = witness(model, work.told, work.answers)
    coarse = gguf_file.write_gguf(file, model, shape, vocabulary, template=template, weights=weights, about=about)
    del model  # one of the two is held at a time
    work.notes += [*shape.notes, *notes, *coarse]
    contents = gguf_file.read_contents(file)
    if contents.vocabulary != vocabulary or contents.template != template:
        raise HeedError("The file does not read back.", file.name, "this is a fault in heed: report it")
    work.say("the file is read back and compared")
    work.drift = compare(seen, gguf_file.read_model(file))
    if weights == "f32" and (work.drift.same_top < 1 or work.drift.mean_kl > 1e-6):
        raise HeedError(f"The file predicts otherwise: {work.drift}.", file.name, "this is a fault in heed: report it")
    work.facts = (
        ("weights", f"{weights}, {size_text(file.stat().st_size)}"),
        ("context", f"{shape.context:,} tokens"),
    )
    if ollama:
        work.parity, more = ollama_file.write(
            source, folder, file.name, contents, min(shape.context, USUAL_CONTEXT), work.told
        )
        work.notes += more
        named = _served(source)
        work.use = (f"cd {{place}} && ollama create {named} -f Modelfile && ollama run {named}",)
        return
    read = reading(contents.vocabulary)
    work.parity = compare_ids(source, work.told, lambda one: prompt_ids(contents.vocabulary, read, one.text))
    stops = "".join(f" -r {text!r}" for text in source.template.stop_strings)
    work.use = (
        f"llama-server -m {{place}}/{file.name} --jinja -c {min(shape.context, USUAL_CONTEXT)}",
        f"llama-cli -m {{place}}/{file.name} --jinja{stops}",
    )


def _at(use: Sequence[str], place: Path) -> tuple[str, ...]:
    """Commands for an export at `place`, which may have blanks in its name."""
    return tuple(line.replace("{place}", shlex.quote(str(place))) for line in use)


def _served(source: Source) -> str:
    """A name to serve a model under: the last part of its own, in letters that every runtime takes."""
    return re.sub(r"[^a-z0-9._-]+", "-", Path(source.name).name.lower()).strip("-._") or "model"

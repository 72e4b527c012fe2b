"""The model card of an export: what it is, what it was made of, how good it is, and under which licences it stands."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from heedlm.data.licences import of_readme
from heedlm.eval.words import arm_name
from heedlm.exports.source import Source
from heedlm.model.load import SHIPPED, resolve_here

_UNKNOWN = "unknown"
_ARMS = ("base", "base_fair", "instruct")


def model_card(source: Source, form: str, facts: Sequence[tuple[str, str]], usage: str) -> str:
    """README.md of an export.   form: hf, adapter, gguf or ollama.   facts: what the export itself found.   usage: commands."""
    base = title(str(source.card.get("base", "")) or source.name)
    licence = base_licence(str(source.card.get("base", "")) or source.name)
    data = _data(source)
    evaluation = _evaluation(source)
    parts = [
        _head(base, licence, form),
        f"# {title(source.name)}: instruction-tuned with heed\n",
        f"## Use\n\n{usage}\n",
        "## Intended use\n\n" + _intended(source, bool(evaluation)),
        "## This export\n\n| fact | value |\n|---|---|\n"
        + "".join(f"| {name} | {_cell(value)} |\n" for name, value in [*facts, *_training(source)]),
        "## Evaluation\n\n" + (evaluation or "Not evaluated: `heed eval RUN` writes what belongs here.\n"),
        "## Data\n\n" + (data or "No data card was found beside this model.\n"),
        "## Licences\n\n| what | licence |\n|---|---|\n"
        f"| the base, {_cell(base)} | {_cell(licence)} |\n" + _data_licences(source),
    ]
    return "\n".join(parts)


def title(name: str) -> str:
    """A model's name for others: a folder of one's own by its last part."""
    return Path(name).name if Path(name).is_absolute() else name


def base_licence(base: str) -> str:
    """The licence that the base's own README names; "unknown" where it is not on this machine, or names none.

    The model in the package stands under the package's own.
    """
    if base in SHIPPED:
        return _package_licence()
    folder = resolve_here(base) if base else None
    found = None if folder is None else of_readme(Path(folder) / "README.md")
    return found.name if found is not None else _UNKNOWN


def _package_licence() -> str:
    try:
        return metadata("heedlm")["License-Expression"] or _UNKNOWN
    except (PackageNotFoundError, KeyError):
        return _UNKNOWN


def _head(base: str, licence: str, form: str) -> str:
    """Fields that the hub reads. It refuses a base that is no hub id."""
    known = bool(re.fullmatch(r"[\w.-]+/[\w.-]+", base)) and not Path(base).exists()
    library = {"hf": "transformers", "adapter": "peft"}.get(form, "gguf")
    return (
        "---\n"
        f"library_name: {library}\n"
        + (f"base_model: {base}\n" if known else "")
        + (f"license: {licence}\n" if re.fullmatch(r"[\w.-]+", licence) and licence != _UNKNOWN else "")
        + "tags: [heed, instruct, sft]\n---\n"
    )


def _intended(source: Source, evaluated: bool) -> str:
    tasks = sorted({str(task["kind"]) for task in _report(source).get("tasks", [])}) if evaluated else []
    lines = ["It follows instructions of the kinds that it was tuned on, in the chat template that travels with it."]
    if tasks:
        lines.append(f"Measured on: {', '.join(task.replace('_', ' ') for task in tasks)}; on nothing else.")
    lines.append(
        "It may state what is untrue, and it was not tuned to refuse: whoever puts it before people checks what it says."
    )
    if source.template.grade == "soft":
        lines.append(
            "Its turns are parted by ordinary text, which a user can type too: do not rely on it to keep roles apart."
        )
    return "\n".join(lines) + "\n"


def _training(source: Source) -> list[tuple[str, str]]:
    """What heed wrote beside the model when it was tuned."""
    card = source.card
    facts = [(key.replace("_", " "), card[key]) for key in ("base", "method", "rows", "steps", "seed") if key in card]
    if "validation_loss" in card:
        facts.append(("validation loss", f"{card['validation_loss']:.4f}"))
    stops = ", ".join(json.dumps(text, ensure_ascii=False) for text in source.stop_texts)
    return [
        *((name, str(value)) for name, value in facts),
        ("chat template", source.template.name),
        ("replies end at", stops),
    ]


def _report(source: Source) -> Mapping[str, Any]:
    return _json(None if source.run is None else source.run.root / "report.json")


def _evaluation(source: Source) -> str:
    """The headline and the table of tasks; empty where nothing was measured."""
    report = _report(source)
    tasks = report.get("tasks", [])
    if not tasks:
        return ""
    arms = [arm for arm in _ARMS if all(arm in task for task in tasks)]
    head = "| task | items | " + " | ".join(arm_name(arm) for arm in arms) + " | difference, 95 % |\n"
    lines = [
        f"| {_cell(str(task['name']))} | {task['n']:,} | "
        + " | ".join(f"{100 * task[arm]:.1f} %" for arm in arms)
        + f" | {100 * task['difference']:+.1f} ({100 * task['low']:+.1f} to {100 * task['high']:+.1f}) |\n"
        for task in tasks
    ]
    warned = "".join(f"\n- {caveat}" for caveat in report.get("caveats", []))
    return f"{report.get('headline', '')}\n{warned}\n\n{head}|---|---|{'---|' * len(arms)}---|\n{''.join(lines)}"


def _data(source: Source) -> str:
    """The head of the data card."""
    card = _data_card(source)
    if not card:
        return ""
    splits = ", ".join(f"{name} {split['rows']:,}" for name, split in card.get("splits", {}).items())
    lines = [
        f"{card['rows_in']:,} rows were read, {card['kept']:,} kept ({splits}); "
        f"{card.get('duplicates', 0):,} exact duplicates were left out.\n\n",
        "| source | rows kept | languages | licences |\n|---|---|---|---|\n",
    ]
    for name, one in card.get("sources", {}).items():
        languages = ", ".join(one.get("languages", {})) or _UNKNOWN
        lines.append(
            f"| {_cell(Path(name).name)} | {one['kept']:,} | {_cell(languages)} | {_cell(_named(one['licences']))} |\n"
        )
    return "".join(lines)


def _data_licences(source: Source) -> str:
    licences = _data_card(source).get("licences", {})
    if not licences:
        return f"| the data | {_UNKNOWN} |\n"
    return "".join(f"| {count:,} examples of the data | {_cell(name)} |\n" for name, count in licences.items())


def _data_card(source: Source) -> Mapping[str, Any]:
    return _json(None if source.run is None else source.run.data / "card.json")


def _named(licences: Any) -> str:
    return ", ".join(licences) if isinstance(licences, dict) else str(licences)


def _json(path: Path | None) -> Mapping[str, Any]:
    """What a file of another stage holds; empty where it is missing."""
    if path is None or not path.is_file():
        return {}
    value = json.loads(path.read_text("utf8"))
    return value if isinstance(value, dict) else {}


def _cell(text: str) -> str:
    """Text that does not break a table."""
    return " ".join(text.split()).replace("|", "\\|")

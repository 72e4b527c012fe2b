"""The command `heed export`: a run's model in the form that other runtimes load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.text import Text

from heedlm.screen import Screen

if TYPE_CHECKING:
    from heedlm.exports.stage import Exported, Form

NO = 1  # exit code where ids differ

Source = Annotated[str, typer.Argument(metavar="RUN", help="A finished run, or a model folder.")]
To = Annotated[str, typer.Option("--to", help="hf (transformers, vLLM, lm-eval), gguf (llama.cpp) or ollama.")]
Out = Annotated[
    str | None, typer.Option("--out", help="The folder to write (default: RUN/export/FORM, or exports/MODEL-FORM).")
]
WeightsOption = Annotated[
    str | None,
    typer.Option("--weights", help="f32, f16, bf16 or q8_0 (gguf, ollama). Default: the model's own; f16 for gguf."),
]
Adapter = Annotated[bool, typer.Option("--adapter", help="With --to hf: the LoRA adapter alone, not merged.")]
Template = Annotated[
    str | None, typer.Option("--template", help="A chat template, for a model that has none of its own.")
]
Prompts = Annotated[int, typer.Option("--prompts", help="Prompts on which both sides are compared.", min=1)]
OtherIds = Annotated[
    bool, typer.Option("--allow-other-ids", help="Keep an export that reads some prompts otherwise; its card says so.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace what lies at the place of the export.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, progress on standard error.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Say only the result.")]


def export(
    source: Source,
    to: To,
    out: Out = None,
    weights: WeightsOption = None,
    adapter: Adapter = False,
    template: Template = None,
    prompts: Prompts = 48,
    allow_other_ids: OtherIds = False,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a model for transformers, vLLM, llama.cpp or Ollama, and prove that they send it the same ids.

    Example: heed export runs/demo --to gguf --weights q8_0   (exit code 1: ids differ, nothing was written)
    """
    screen = Screen(as_json, quiet)
    from heedlm import api

    done = api.export(
        model=source,
        to=cast("Form", to),  # looked at there
        out=out,
        weights=weights,
        adapter=adapter,
        template=template,
        prompts=prompts,
        allow_other_ids=allow_other_ids,
        force=force,
        say=screen.say,
    )
    screen.result(done, Text("\n".join(_lines(done)), no_wrap=True))
    if not done.placed:
        raise typer.Exit(NO)


def _lines(done: Exported) -> list[str]:
    """What people are told."""
    from heedlm.exports.folder import size_text

    lines = [f"ids          {done.parity}"]
    if done.parity.left_out:
        lines.append(f"             {done.parity.left_out:,} more cannot be said in this form, and were left out")
    if done.parity.first:
        lines.append(f"             {done.parity.first}")
    if done.drift is not None:
        lines.append(f"predictions  {done.drift}")
    lines += [f"note         {note}" for note in done.notes]
    if not done.placed:
        mend = "--allow-other-ids writes it all the same, and its card says so."
        return [*lines, f"Nothing was written: over there these prompts would be read otherwise. {mend}"]
    lines += [f"{size_text(size):>11}  {done.folder / name}" for name, size in done.files.items()]
    return [*lines, "Use it:", *(f"  {line}" for line in done.use)]

"""What is wrong with a training that has not begun, each with its mend."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from heedlm.config import Recipe

if TYPE_CHECKING:
    from heedlm.train.check import Data, Model, Planned

PROOF = "heed eval RUN tells how many replies end by themselves"
_FEW_STEPS = 20
_MANY_LOST = 0.1
Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a person should know. error: the run would fail or be for nothing; warning: think about it."""

    severity: Severity
    what: str
    mend: str


def about_model(model: Model, recipe: Recipe) -> list[Finding]:
    findings = []
    if model.bos.startswith("missing"):
        mend = "--set templates.chat=chatml or another built-in format, which write it; or add it to the template"
        findings.append(Finding("warning", f"BOS is {model.bos}.", mend))
    return findings + _about_untrained(model, recipe)


def _about_untrained(model: Model, recipe: Recipe) -> list[Finding]:
    """An error where the token that ends answers is one that nothing trains; a warning for every other."""
    if not model.untrained:
        return []
    lora, frozen = recipe.model.lora, recipe.model.freeze
    if recipe.model.method == "full":
        learned = set() if any("embed" in one for one in frozen) else set(model.untrained)
        mend = "leave the embedding out of model.freeze"
    else:
        whole = any("embed" in one or "lm_head" in one for one in lora.modules_to_save)
        learned = set(model.untrained) if whole else set(lora.tokens)
        every = ", ".join(model.untrained)
        mend = (
            f'--set "model.lora.tokens=[{every}]" trains their rows; or --set templates.chat=human_assistant needs none'
        )
    findings = []
    for trained in (True, False):
        tokens = [token for token in model.untrained if (token in learned) == trained]
        if not tokens:
            continue
        evidence = {token: model.untrained[token] for token in tokens}
        ends = [token for token in tokens if token in model.stop[:1]]
        what = f"The model never met {_listed(evidence)}, which {model.template} writes"
        what += f"; {ends[0]} ends every answer. " if ends else ". "
        if trained:
            findings.append(
                Finding("warning", what + "Their rows are trained here.", f"prove it when it is done: {PROOF}")
            )
        else:
            severity: Severity = "error" if ends else "warning"
            findings.append(Finding(severity, what + "Nothing trains their rows here.", f"{mend}. Then {PROOF}"))
    return findings


def _listed(evidence: Mapping[str, str]) -> str:
    """Tokens with the evidence in brackets, those of the same evidence together."""
    kinds: dict[str, list[str]] = {}
    for token, why in evidence.items():
        kinds.setdefault(why, []).append(token)
    return ", ".join(f"{' and '.join(tokens)} ({why})" for why, tokens in kinds.items())


def about_data(data: Data) -> list[Finding]:
    findings = []
    rows = data.splits.get("train", 0)
    if data.dropped > _MANY_LOST * max(1, rows):
        what = f"{data.dropped:,} of {rows:,} training rows are too long and dropped."
        findings.append(Finding("warning", what, "--set tokens.max_tokens=N, or --set tokens.overflow=oldest_turns"))
    if "val" not in data.splits:
        findings.append(
            Finding("warning", "No validation rows: the last weights are kept, not the best.", "--set data.val=0.05")
        )
    return findings


def about_plan(plan: Planned) -> list[Finding]:
    if plan.steps >= _FEW_STEPS:
        return []
    what = f"There are only {plan.steps} steps: the schedule has hardly begun when it ends."
    return [Finding("warning", what, "more rows or epochs, or smaller steps: --set train.tokens_per_step=1024")]

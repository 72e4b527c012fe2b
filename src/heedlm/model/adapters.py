"""Low-rank adapters through peft: put on, and merged back in fp32."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from heedlm.errors import HeedError
from heedlm.runs import disk_errors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from heedlm.config import LoraConfig


def add_adapter(model: PreTrainedModel, config: LoraConfig) -> PreTrainedModel:
    """The model with a LoRA on its linear layers; only the adapter is trainable. Raises HeedError for unknown targets."""
    import peft

    targets: Any = config.targets if isinstance(config.targets, str) else list(config.targets)
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        return peft.get_peft_model(model, settings)
    except ValueError as error:
        import torch

        names = sorted(
            {name.rpartition(".")[2] for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
        )
        raise HeedError(
            f"No layer of this model is called {targets!r}.", "model.lora.targets", "known: " + ", ".join(names)
        ) from error


def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """The adapter alone, in peft's format."""
    with disk_errors(folder):
        model.save_pretrained(folder)


def merged(model: PreTrainedModel) -> PreTrainedModel:
    """The plain model with its adapter added to the weights, in the fp32 of the masters (pain 18)."""
    return model.merge_and_unload()

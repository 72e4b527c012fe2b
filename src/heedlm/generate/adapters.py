"""Adapters that take turns on one base: its weights are in memory once, however many were tuned from it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from heedlm.errors import HeedError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Adapters:
    """A base with adapters over it, of which one at a time, or none, acts. Used by one thread."""

    def __init__(self, base: PreTrainedModel) -> None:
        self._base = base
        self._wrapped: Any = None

    @property
    def model(self) -> PreTrainedModel:
        """The base, with whatever acts on it at the time."""
        return cast("PreTrainedModel", self._base if self._wrapped is None else self._wrapped)

    def add(self, folder: Path) -> str:
        """Put on the adapter in `folder`; the name by which `switch` knows it. Raises HeedError where it does not fit."""
        import peft

        name = f"adapter{0 if self._wrapped is None else len(self._wrapped.peft_config)}"
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", category=UserWarning)  # of adapters that lie beside others
                if self._wrapped is None:
                    self._wrapped = peft.PeftModel.from_pretrained(self._base, str(folder), adapter_name=name)
                else:
                    self._wrapped.load_adapter(str(folder), adapter_name=name)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            reason = str(error).strip().split("\n")[0]
            raise HeedError(f"The adapter does not fit its base: {reason}", str(folder), "serve RUN/model") from error
        return name

    def switch(self, name: str | None) -> None:
        """Let one adapter act, or none."""
        if self._wrapped is None:
            return
        if name is None:
            self._wrapped.base_model.disable_adapter_layers()
        else:
            self._wrapped.base_model.enable_adapter_layers()
            self._wrapped.set_adapter(name)

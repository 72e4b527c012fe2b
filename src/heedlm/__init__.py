"""From a base language model to one that follows instructions, with proof.

The public verbs are imported on first use, so that `import heedlm` stays fast and free of torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heedlm.api import demo, evaluate, prepare, pretrain, show, train

__version__ = "0.1.0"
__all__ = ["__version__", "demo", "evaluate", "prepare", "pretrain", "show", "train"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from heedlm import api

        return getattr(api, name)
    raise AttributeError(f"module 'heedlm' has no attribute {name!r}")

"""From a base language model to one that follows instructions, with proof.

The public verbs are imported on first use, so that `import heedlm` stays fast and free of torch.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

import heedlm.train as _room

if TYPE_CHECKING:
    from heedlm.api import (
        check,
        check_numerics,
        compare,
        demo,
        evaluate,
        export,
        inspect,
        judge,
        label_sheet,
        prepare,
        pretrain,
        rows,
        show,
        synthesise,
    )
    from heedlm.api import train as train

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "check",
    "check_numerics",
    "compare",
    "demo",
    "evaluate",
    "export",
    "inspect",
    "judge",
    "label_sheet",
    "prepare",
    "pretrain",
    "rows",
    "show",
    "synthesise",
    "train",
]


class _Verb(ModuleType):
    """`heedlm.train` is a room and a verb: Python binds the room's name here on import, so the room itself is callable."""

    def __call__(self, **options: Any) -> Any:
        from heedlm import api

        return api.train(**options)


sys.modules[_room.__name__].__class__ = _Verb


def __getattr__(name: str) -> Any:
    if name in __all__:
        from heedlm import api

        return getattr(api, name)
    raise AttributeError(f"module 'heedlm' has no attribute {name!r}")

"""Which of the models to be served are adapters on one base, so that its weights need be loaded only once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from heedlm.model.load import resolve_here
from heedlm.model.save import read_card
from heedlm.runs import Run


class Share(NamedTuple):
    """base: folder of the weights.   adapter: what is put over them; None for the base itself."""

    base: str
    adapter: Path | None


def shares(given: Sequence[str], folders: Sequence[str]) -> list[Share | None]:
    """For each model the base that it shares with another of them; None for one that is loaded for itself.

    A run whose adapter trains whole modules, or rows of the vocabulary, is loaded for itself: such parts are kept beside the
    base's own, and what ties them together there holds for one adapter only.
    """
    found = [_share(name, folder) for name, folder in zip(given, folders, strict=True)]
    users = Counter(share.base for share in found)
    tuned = {share.base for share in found if share.adapter is not None}
    return [share if users[share.base] > 1 and share.base in tuned else None for share in found]


def _share(name: str, folder: str) -> Share:
    root = Path(name)
    if (root / "run.json").is_file():
        adapter = Run(root).adapter
        base = read_card(folder).get("base")
        here = resolve_here(str(base)) if base else None
        if here is not None and _is_plain(adapter):
            return Share(str(Path(here).resolve()), adapter)
    return Share(str(Path(folder).resolve()), None)


def _is_plain(adapter: Path) -> bool:
    """Whether an adapter consists of matrices beside the base's own, and of nothing else."""
    file = adapter / "adapter_config.json"
    if not file.is_file():
        return False
    config = json.loads(file.read_text("utf8"))
    return not config.get("modules_to_save") and not config.get("trainable_token_indices")

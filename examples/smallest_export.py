"""The smallest file that still predicts what the model predicts: three kinds of numbers, measured.

    python examples/smallest_export.py --model runs/demo --allow-other-ids

Each export is read back and compared with the model on rendered prompts. The smallest one whose most likely token is the
model's own nearly everywhere is named; what is too far off is thrown away. Needs the extra `gguf`. The tokenizer of the
built-in world has no equal in llama.cpp, so its exports are kept only when that is allowed.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import heedlm
from heedlm.exports.stage import Exported

KINDS = ("f16", "bf16", "q8_0")


def main(arguments: Sequence[str] | None = None) -> Exported | None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="runs/demo", help="a run, or a model folder with a chat template")
    options.add_argument("--template", help="a chat template, for a model that has none")
    options.add_argument("--out", default="exports/sizes", help="the folder of the exports")
    options.add_argument("--same-top", type=float, default=0.99, help="share of places with the same most likely token")
    options.add_argument("--allow-other-ids", action="store_true", help="keep what reads some prompts otherwise")
    given = options.parse_args(arguments)

    good: list[Exported] = []
    for kind in KINDS:
        done = heedlm.export(
            model=given.model,
            to="gguf",
            weights=kind,
            template=given.template,
            out=Path(given.out) / kind,
            allow_other_ids=given.allow_other_ids,
            force=True,
        )
        if not done.placed or done.drift is None:
            print(f"{kind:>5}: nothing written; {done.parity}")
            continue
        enough = done.drift.same_top >= given.same_top
        print(f"{kind:>5}: {size(done) / 1e6:8.1f} MB, {done.drift}{'' if enough else ': too far off'}")
        if enough:
            good.append(done)
        else:
            shutil.rmtree(done.folder)
    if not good:
        print("none is good enough: --same-top 0.9, or serve the folder of `heed export --to hf`")
        return None
    best = min(good, key=size)
    print(f"take {best.folder}; then: {best.use[0]}")
    return best


def size(done: Exported) -> int:
    return sum(done.files.values())


if __name__ == "__main__":
    main()

"""The loop, as a person goes it: a mended answer, and the very commands that the playground then shows."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from heedlm.serve.playground_desk import Desk
from tests.families import checkpoint
from tests.typed import Heed

ROWS = [{"prompt": f"Say the word number {n}.", "completion": f"Word {n}."} for n in range(40)]


def test_the_next_training_takes_a_mended_answer_and_its_evaluation_asks_it(
    heed: Heed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = checkpoint(tmp_path / "base", max_position_embeddings=512)
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    few = [f"--set={one}" for one in ("data.test=0.2", "train.max_steps=1", "eval.items=4", "eval.max_tokens=8")]
    assert heed("train", "--model", model, "--data", "rows.jsonl", "--run", "runs/mine", *few, "--quiet")[0] == 0
    desk = Desk(run=Path("runs/mine"), model="base")
    asked = [{"role": "user", "content": "What is the capital of Australia?"}]
    checks = [{"type": "icontains", "value": "canberra"}]
    given = {"messages": asked, "reply": "Sydney.", "answer": "It is Canberra.", "author": "Ann", "checks": checks}
    lines = desk.fix({**given, "model": "mine"})["next"]
    assert lines == [
        "heed train next.yaml --run runs/mine-2",
        "heed eval runs/mine-2",
        "heed serve runs/mine-2 --ui",
    ]
    for line in lines[:2]:
        code, _, err = heed(*shlex.split(line)[1:], "--quiet")
        assert code == 0, err
    trained = [json.loads(line) for line in Path("runs/mine-2/data/train.jsonl").read_text().splitlines()]
    mended = [row for row in trained if row.get("meta", {}).get("by") == "human"]
    assert [row["messages"][-1]["content"] for row in mended] == ["It is Canberra."]
    report = json.loads(Path("runs/mine-2/report.json").read_text())
    tasks = {task["name"]: task["n"] for task in report["tasks"]}
    assert tasks == {"held_out": 4, "regression": 1}
    assert report["caveats"] == ["TAUGHT: 1 of 5 items are mended answers that were trained on, to see that they hold."]
    assert desk.fix({**given, "reply": "Perth."})["next"][0] == "heed train next.yaml --run runs/mine-3"

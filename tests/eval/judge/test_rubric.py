from __future__ import annotations

from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.eval.judge.rubric import read_rubric


def test_the_shipped_rubric_has_five_points() -> None:
    rubric = read_rubric()
    assert (rubric.name, rubric.most) == ("heed", 5)
    assert "made up" in rubric.criteria


def test_a_text_file_holds_the_criteria(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("Is it kind?\n")
    rubric = read_rubric(tmp_path / "mine.txt")
    assert (rubric.criteria, rubric.scale) == ("Is it kind?", read_rubric().scale)


def test_a_scale_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("criteria: Is it kind?\nscale: {1: no, 2: yes}\n")
    assert read_rubric(tmp_path / "mine.yaml").scale == {1: "no", 2: "yes"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("criteria: x\nscal: {1: a, 2: b}\n", "did you mean 'scale'"),
        ("about: x\n", "`criteria` is missing"),
        ("criteria: x\nscale: {0: a, 1: b}\n", "`scale` is"),
        ("criteria: x\nscale: {1: a}\n", "`scale` is"),
        ("criteria: x\nscale: [a, b]\n", "`scale` is"),
        ("criteria: x\nabout: [a]\n", "`about` is no text"),
        ("[a", "not valid YAML"),
        ("just words", "a mapping, or a text file"),
        ("", "a mapping, or a text file"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(HeedError) as caught:
        read_rubric(tmp_path / "mine.yaml")
    assert said in str(caught.value)


def test_everything_wrong_is_said_at_once_and_no_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("criterion: x\nscale: 5\n")
    with pytest.raises(HeedError) as caught:
        read_rubric(tmp_path / "mine.yaml")
    assert len(caught.value.problems) == 3
    for name, raw in (("empty.txt", b" \n"), ("bytes.txt", b"\xff\xfe\x00"), ("none.txt", None)):
        if raw is not None:
            (tmp_path / name).write_bytes(raw)
        with pytest.raises(HeedError):
            read_rubric(tmp_path / name)

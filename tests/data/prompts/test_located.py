"""YAML is read with its lines, and without running anything."""

from __future__ import annotations

import pytest

from heedlm.data.prompts.located import read_yaml
from heedlm.errors import HeedError


def test_every_value_knows_its_line() -> None:
    found = read_yaml("a: 1\nb:\n  - x\n  - |\n    text\n    more\nc: {d: e}\n", "f.yaml")
    assert found.value == {"a": 1, "b": ["x", "text\nmore\n"], "c": {"d": "e"}}
    assert found.at("b", 0) == "f.yaml:3"
    assert found.at("b", 1) == "f.yaml:5"
    assert found.at("b", 1, line=2) == "f.yaml:6"
    assert found.at("c", "d", "not there") == "f.yaml:7"
    assert found.at() == "f.yaml:1"


def test_words_stay_words() -> None:
    text = "[yes, no, on, off, true, false, null, 2020-01-01, 1_0, 0x10, 1.0e+3, '7', 7, 7.5]"
    assert read_yaml(text, "f").value == [
        *("yes", "no", "on", "off", True, False, None, "2020-01-01", 10, "0x10", 1000.0, "7", 7, 7.5)
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [1", "broken YAML"),
        ("a: 1\na: 2", "second time"),
        ("a: b: c", "broken YAML"),
        ("\x00", "broken YAML"),
        ("a: &x [*x]", "nested too deeply"),
        ("a: &a [b,b,b,b,b,b,b,b,b]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{','.join('*' + chr(97 + n) for _ in range(9))}]\n" for n in range(8)
        ), "too large"),
        ("[" * 40 + "]" * 40, "nested too deeply"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(text: str, said: str) -> None:
    with pytest.raises(HeedError, match=said):
        read_yaml(text, "f.yaml")


def test_tags_are_noted_and_never_obeyed() -> None:
    found = read_yaml("a: !!python/object/apply:os.system ['touch gone']\nb: !Template {c: !Other x}", "f")
    assert found.value == {"a": ["touch gone"], "b": {"c": "x"}}
    assert found.tags == {
        ("a",): "tag:yaml.org,2002:python/object/apply:os.system",
        ("b",): "!Template",
        ("b", "c"): "!Other",
    }


def test_nothing_is_nothing() -> None:
    assert read_yaml("", "f").value is None

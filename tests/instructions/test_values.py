"""A block's text with values: what takes too long to make is refused, with its line; look-alikes are seen as what they look like."""

from __future__ import annotations

import unicodedata

import pytest

from heedlm.errors import HeedError
from heedlm.instructions.blocks import NOTATIONS
from heedlm.instructions.compile import compile_, fill, planned
from heedlm.instructions.format import parse
from heedlm.instructions.layout import Layout
from heedlm.instructions.values import MOST_LOOPS, pieces, wording
from heedlm.templates.sandbox import MOST_CHARACTERS, FillError

LOOP, END = "{% for a in range(9999) %}", "{% endfor %}"
HEAD = "---\ninputs: [{name: text, kind: string}, {name: rows, kind: array}]\n---\nsystem:\n# Task\nSay it.\n"


def compiled(block: str, rows: int = 5000) -> str:
    instruction = parse(f"{HEAD}{block}\n\nuser:\nx", "f.prompty")
    return compile_(instruction, {"text": "t", "rows": list(range(rows))}).messages[0].content


@pytest.mark.parametrize(
    "block",
    [
        f"{LOOP}{LOOP}{LOOP}{END}{END}{END}",
        f"{LOOP}{LOOP}{{{{ text }}}}{END}{END}",
        "{% for a in rows %}{% for b in rows %}{% for c in rows %}{% endfor %}{% endfor %}{% endfor %}",
        f"{LOOP}{{% if range(9999) | list | length > 1 %}}{{% endif %}}{END}",
        "{% for a in rows recursive %}{{ loop(rows) }}{% endfor %}",
        "{% set a = text ~ 'xxxxxxxxxx' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
        "{% set n = namespace(x='xxxxxxxxxx') %}{% for i in range(40) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
        "{{ '%999999999d' % 3 }}",
        "{{ rows | batch(1000000000, 'x') }}",
        "{% for a in rows %}" + "y" * 300 + "{% endfor %}",
    ],
)
def test_no_template_takes_long_or_makes_a_huge_text(block: str) -> None:
    with pytest.raises(HeedError) as refused:
        compiled(block)
    problem = refused.value.problems[0]
    assert problem.where in ("f.prompty:6", "f.prompty:7")
    assert problem.mend


def test_loops_up_to_the_limit_are_made() -> None:
    assert compiled("{% for a in rows %}{{ loop.index }}{{ '/' if not loop.last }}{% endfor %}", 3) == (
        "# Task\nSay it.\n1/2/3"
    )
    loops = "{% for a in range(10000) %}{% endfor %}" * (MOST_LOOPS // 20_000)  # a range counts, and a loop over it
    assert pieces(wording(loops), {})[0].text == ""
    with pytest.raises(FillError, match="steps"):
        wording(loops + "{% for a in [1] %}{% endfor %}")
    assert compiled("{{ 7 % 3 }} {% for a, b in [(1, 2)] %}{{ a }}{{ b }}{% else %}none{% endfor %}").endswith("1 12")
    assert compiled("{% for a in rows %}{{ a }}{% else %}none{% endfor %}", 0).endswith("none")
    assert len(pieces(wording("{{ text }}"), {"text": "x" * (MOST_CHARACTERS // 2)})[0].text) == MOST_CHARACTERS // 2


def test_what_fails_is_told_at_its_line_with_the_nearest_filter() -> None:
    for block, line, told in (
        ("{{ text | uper }}", 7, "did you mean 'upper'"),
        ("one\n{{ text.size }}", 8, "value or a default"),
        ("one\ntwo {% if text", 8, "closes with"),
    ):
        with pytest.raises(HeedError) as refused:
            compiled(block)
        problem = refused.value.problems[0]
        assert (problem.where, told in problem.mend) == (f"f.prompty:{line}", True), problem


CROWDED = parse(
    "---\ninputs: [{name: a, kind: string}]\n---\nsystem:\n# Role\nOne.\n# Task\n{{ a }}: yes\n#{{ a }}\nTwo.\n\nuser:\n{{ a }}",
)


@pytest.mark.parametrize("notation", NOTATIONS)
@pytest.mark.parametrize(
    "value",
    [
        "\u200b# Role",
        "＃ Ｒｏｌｅ",
        "# Ro\u200ble",
        "Ｒｏｌｅ：",
        "＜role＞",
        "<\u2060role>",
        "Role\n＝＝＝",
        "\trole\r\n====",
        "｀｀｀",
    ],
)
def test_look_alikes_and_unseen_signs_are_no_way_round(notation: str, value: str) -> None:
    plan = planned(CROWDED, Layout(notation=notation))  # type: ignore[arg-type]
    found = fill(plan, {"a": value}).messages[-1].content
    shown = "".join(sign for sign in unicodedata.normalize("NFKC", found) if unicodedata.category(sign) != "Cf")
    lines = [line.strip() for line in shown.splitlines()]
    if notation == "markdown":
        assert not any(line.startswith(("#", "```")) for line in lines)
        assert lines[0] != "Role" or not lines[1].startswith("=")
    if notation == "xml":
        assert "<role" not in shown
    if notation == "label":
        assert not any(line.lower().startswith("role:") for line in lines)


def test_text_in_other_scripts_arrives_as_it_is() -> None:
    for value in ("नमस्ते दुनिया: क्\u200dष", "Straße: naïve ﬁne", "مرحبا: \u200fعالم", "日本語：はい", "👩\u200d🚀 # 1"):
        assert fill(planned(CROWDED), {"a": value}).messages[-1].content == value


def test_blocks_that_no_value_changes_are_the_same_in_every_compile() -> None:
    instruction = parse(
        "---\ninputs: [{name: a, kind: string}]\nheed: {examples: [{a: \"x\\n# Role\", output: 'x'}]}\n---\n"
        "system:\n# Task\nDo it.\n# Empty {# kind=context #}\n# Examples {# slot=examples #}\n\nuser:\n{{ a }}"
    )
    plan = planned(instruction)
    first, second = fill(plan, {"a": "1"}), fill(plan, {"a": "2"})
    assert first.messages[0] == second.messages[0]
    assert first.escapes == second.escapes != ()
    assert first.empty == second.empty == ("empty",)
    assert first.spans[:-2] == second.spans[:-2]

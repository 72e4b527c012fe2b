from __future__ import annotations

from pathlib import Path

import pytest

from heedlm.errors import HeedError
from heedlm.eval.gate_file import Gate, check_names, read_gate


def written(folder: Path, text: str) -> Path:
    path = folder / "gate.yaml"
    path.write_text(text)
    return path


def test_a_gate_is_read(tmp_path: Path) -> None:
    text = "tasks: {mails: {gain: 0.1, score: 0.8, items: 50}, '*': {gain: 0}}\nstop_rate: 0.99\nnoise_floor: true\n"
    gate = read_gate(written(tmp_path, text))
    assert (gate.tasks["mails"].gain, gate.tasks["mails"].items, gate.tasks["*"].gain) == (0.1, 50, 0.0)
    assert (gate.stop_rate, gate.forgetting, gate.noise_floor) == (0.99, None, True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stop_rat: 0.9", "did you mean 'stop_rate'"),
        ("tasks: {mails: {gian: 0.1}}", "did you mean 'gain'"),
        ("stop_rate: 1.5", "'stop_rate' is 1.5"),
        ("stop_rate: often", "'stop_rate' is 'often'"),
        ("tasks: {mails: {items: 0}}", "tasks.mails.items"),
        ("tasks: [mails]", "'tasks'"),
        ("- stop_rate", "mapping of figures"),
        ("", "mapping of figures"),
        ("noise_floor: true", "asks for nothing"),
        ("tasks: {mails: {}}", "asks for nothing"),
        ("tasks: {mails: {gain: 0.1}", "not valid YAML"),
    ],
)
def test_a_wrong_gate_is_refused_with_its_mend(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(HeedError) as caught:
        read_gate(written(tmp_path, text))
    assert said in str(caught.value)
    assert "gate.yaml" in str(caught.value)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(HeedError) as caught:
        read_gate(written(tmp_path, "stop_rat: 0.9\nhonest: 2\ntasks: {a: {gian: 1}}"))
    assert len(caught.value.problems) == 3


def test_no_gate_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match="There is no gate here"):
        read_gate(tmp_path / "none.yaml")
    with pytest.raises(HeedError, match="not a UTF-8 text"):
        read_gate(tmp_path)


def test_a_task_that_there_is_not_is_refused() -> None:
    gate = Gate.model_validate({"tasks": {"mials": {"gain": 0.1}, "*": {"gain": 0.0}}})
    check_names(gate, ["mials"], Path("gate.yaml"))
    with pytest.raises(HeedError, match="no task 'mials'") as caught:
        check_names(gate, ["mails", "facts"], Path("gate.yaml"))
    assert "did you mean 'mails'" in str(caught.value)

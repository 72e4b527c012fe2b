"""`heed eval` as it is typed: a run with a gate, several models, and what goes wrong."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from heedlm import cli
from tests.endpoints import served
from tests.families import checkpoint
from tests.typed import Heed

ROWS = [
    {
        "prompt": f"Say the word number {n}.",
        "completion": f"Word {n}.",
        "meta": {"task": "words", "kind": "format", "checks": [{"type": "icontains", "value": "o"}]},
    }
    for n in range(40)
]
FEW = ("--set", "eval.items=4", "--set", "eval.max_tokens=4")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base, a run `one` trained on it, evaluated on four items, and a gate that any model passes."""
    folder = tmp_path_factory.mktemp("made")
    model = checkpoint(folder / "base", max_position_embeddings=512)
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    common = ["--model", str(model), "--data", str(data), "--set", "data.test=0.3", "--set", "train.max_steps=1"]
    with pytest.raises(SystemExit):
        cli.main(["train", *common, "--run", str(folder / "one"), "--set", "train.panel=0", "--quiet"])
    with pytest.raises(SystemExit):
        cli.main(["eval", str(folder / "one"), *FEW, "--quiet"])
    (folder / "easy.yaml").write_text("errors: 0.5\n")
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A run of one's own, to be broken."""
    return Path(shutil.copytree(made / "one", tmp_path / "one"))


def test_a_gate_answers_with_its_exit_code_and_evidence(heed: Heed, made: Path, run: Path) -> None:
    gate = run.parent / "gate.yaml"
    texts = {"errors: 0.5": 0, "tasks: {words: {gain: -1}}\nerrors: 0": 0, "stop_rate: 0.999": None}
    for text, wanted in texts.items():
        gate.write_text(text)
        code, out, _ = heed("eval", run, "--rescore", "--gate", gate, "--json", "--set", "eval.items=4")
        found = json.loads(out)["decision"]
        assert code == {"ship": 0, "do not ship": 1, "cannot tell": 3}[found["call"]]
        assert wanted in (None, code)
    gate.write_text("tasks: {'*': {score: 0.9, items: 1000}}")
    assert heed("eval", run, "--rescore", "--gate", gate, "--set", "eval.items=4")[0] in (1, 3)
    assert json.loads((run / "evidence.json").read_text())["verdict"] != "ship"


def test_evidence_is_verified_without_a_model(heed: Heed, made: Path, run: Path) -> None:
    assert heed("eval", run, "--verify")[0] == 2
    common = ("--gate", made / "easy.yaml", "--set", "eval.items=4")
    assert heed("eval", run, "--rescore", *common)[0] == 0
    code, out, _ = heed("eval", run, "--verify", "--json")
    assert (code, json.loads(out)) == (0, {"verdict": "ship", "changed": []})
    kept = json.loads((run / "evidence.json").read_text())
    assert (kept["config"]["items"], kept["config"]["suites"]) == (4, ["held_out"])
    assert {"data/test.jsonl", "recipe.yaml", "report.json"} <= set(kept["files"])
    with (run / "model" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    code, out, _ = heed("eval", run, "--verify")
    assert code == 1
    assert "instruct: model.safetensors has changed" in out


def test_a_gate_is_refused_before_a_model_is_loaded(heed: Heed, run: Path) -> None:
    shutil.rmtree(run / "model")
    (run / "model").mkdir()
    (run / "model" / "config.json").write_text("{}")
    gate = run.parent / "gate.yaml"
    gate.write_text("tasks: {wrods: {gain: 0.1}}")
    code, _, err = heed("eval", run, "--gate", gate)
    assert code == 2
    assert "did you mean 'words'" in err
    assert heed("eval", run, "--gate", run / "none.yaml")[0] == 2


def test_the_noise_floor_is_measured_and_kept(heed: Heed, run: Path) -> None:
    code, out, _ = heed("eval", run, "--noise-floor", "--json", *FEW)
    assert code == 0
    report = json.loads(out)
    assert (report["noise"]["n"], report["noise"]["changed"]) == (4, 0)
    assert "instruct_again" not in report["tasks"][0]
    again = json.loads(heed("eval", run, "--rescore", "--json", *FEW)[1])
    assert again == report


def test_a_report_made_again_is_the_same_and_new_checks_count(heed: Heed, run: Path) -> None:
    before = json.loads((run / "report.json").read_text())
    log = (run / "eval" / "items.jsonl").read_bytes()
    assert json.loads(heed("eval", run, "--rescore", "--json", *FEW)[1]) == before
    assert (run / "eval" / "items.jsonl").read_bytes() == log
    test = run / "data" / "test.jsonl"
    test.write_text(test.read_text().replace('"type": "icontains"', '"type": "not-icontains"'))
    after = json.loads(heed("eval", run, "--rescore", "--json", *FEW)[1])
    for arm in ("base", "instruct"):
        assert after["tasks"][0][arm] == pytest.approx(1 - before["tasks"][0][arm])


def test_items_that_were_trained_on_are_refused_with_their_rows(heed: Heed, run: Path) -> None:
    train, test = run / "data" / "train.jsonl", run / "data" / "test.jsonl"
    line = json.loads(train.read_text().splitlines()[0])
    with test.open("a") as file:
        file.write(json.dumps({**line, "id": "leak", "source": "smuggled.jsonl:3"}) + "\n")
    many = ("--set", "eval.max_tokens=4")
    code, out, err = heed("eval", run, *many)
    assert (code, out) == (2, "")
    assert "smuggled.jsonl:3" in err
    assert line["source"] in err
    code, out, _ = heed("eval", run, "--allow-leak", "--json", *many)
    assert code == 0
    assert json.loads(out)["headline"].startswith("LEAK: 1 of ")
    assert "LEAK: 1 of" in (run / "report.html").read_text()


def test_another_template_than_was_taught_is_refused(heed: Heed, run: Path) -> None:
    template = run / "model" / "chat_template.jinja"
    template.write_text(template.read_text() + "{# another #}")
    code, _, err = heed("eval", run, *FEW)
    assert code == 2
    assert "not the one it was taught" in err
    code, out, _ = heed("eval", run, "--force-template", "--json", *FEW)
    assert code == 0
    assert json.loads(out)["headline"].startswith("WRONG TEMPLATE")
    page = (run / "report.html").read_text()
    assert re.search(r'<h1[^>]*class="[^"]*caveat[^"]*"[^>]*>(<bdi>)?WRONG TEMPLATE', page)  # in red
    assert re.search(r"h1\.caveat\s*{[^}]*color: var\(--bad\)", page)
    assert heed("eval", run.parent / "one", run, *FEW)[0] == 2


def test_an_unknown_scorer_and_an_item_without_a_target_are_refused_at_once(
    heed: Heed, made: Path, tmp_path: Path
) -> None:
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "tasks:\n  a:\n    scorer: exakt\n    items: [{prompt: Hm, target: Hm}]\n"
        "  b:\n    scorer: exact\n    items:\n      - {prompt: Hm}\n"
    )
    code, out, err = heed("eval", made / "one", "--suite", suite)
    assert (code, out) == (2, "")
    assert "did you mean 'exact'" in err
    assert f"{suite}:3" in err
    assert f"{suite}:8" in err
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({**ROWS[0], "meta": {"scorer": "numerc"}}) + "\n")
    code, _, err = heed("eval", made / "one", made / "base", "--data", rows, "--out", tmp_path / "out")
    assert code == 2
    assert "did you mean 'numeric'" in err
    assert f"{rows}:1" in err
    rows.write_text(json.dumps({"prompt": "Who?"}) + "\n")
    code, _, err = heed("eval", made / "one", made / "base", "--data", rows, "--out", tmp_path / "out")
    assert code == 2
    assert f"{rows}:1" in err
    assert not (tmp_path / "out").exists()


def test_any_models_on_the_same_items(heed: Heed, made: Path, tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    items.write_text("".join(json.dumps({"prompt": f"Name {n}?", "completion": f"{n}"}) + "\n" for n in range(5)))
    out_folder = tmp_path / "out"
    names = (made / "one", made / "base")
    code, out, err = heed("eval", *names, "--data", items, "--out", out_folder, "--json", "--set", "eval.max_tokens=4")
    assert code == 0, err
    report = json.loads(out)
    assert report == json.loads((out_folder / "report.json").read_text())
    assert [model["name"] for model in report["models"]] == [str(name) for name in names]
    assert [model["asked"].split()[0] for model in report["models"]] == ["messages,", "plain"]
    assert report["pairs"][0]["all"]["n"] == 5
    log = (out_folder / "items.jsonl").read_bytes()
    again = heed(
        "eval", *names, "--data", items, "--out", out_folder, "--json", "--rescore", "--set", "eval.max_tokens=4"
    )
    assert json.loads(again[1])["pairs"] == report["pairs"]
    assert (out_folder / "items.jsonl").read_bytes() == log


def test_a_run_on_other_rows_is_compared_with_its_own_base(heed: Heed, made: Path, tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    items.write_text(json.dumps({"prompt": "Name?", "completion": "Ann"}) + "\n")
    code, out, _ = heed("eval", made / "one", "--data", items, "--out", tmp_path / "out", "--json", *FEW)
    assert code == 0
    (pair,) = json.loads(out)["pairs"]
    assert (pair["first"], pair["second"], pair["all"]["n"]) == (str(made / "base"), str(made / "one"), 1)
    assert pair["tasks"][0]["note"].startswith("too small: 1 item")
    items.write_text(json.dumps({**ROWS[0], "meta": {}}) + "\n" + json.dumps({**ROWS[1], "meta": {}}) + "\n")
    trained = (made / "one" / "data" / "train.jsonl").read_text()
    assert ROWS[0]["prompt"] in trained or ROWS[1]["prompt"] in trained
    code, _, err = heed("eval", made / "one", "--data", items, "--out", tmp_path / "out", *FEW)
    assert code == 2
    assert "overlap with the training rows" in err


def test_a_tuned_model_to_compare_with_is_asked_in_its_own_format(heed: Heed, made: Path, run: Path) -> None:
    code, out, _ = heed("eval", made / "one", "--against", run, "--json", "--out", run.parent / "out", *FEW)
    assert code == 0
    (pair,) = json.loads(out)["pairs"]
    assert (pair["first"], pair["second"]) == (str(run), str(made / "one"))
    assert (pair["all"]["mean"], pair["all"]["p"]) == (0.0, 1.0)


def test_prompt_or_tune(heed: Heed, made: Path, tmp_path: Path) -> None:
    system = tmp_path / "system.txt"
    system.write_text("Answer in one word.\n")
    common = ("--grid", system, "--out", tmp_path / "out", "--json", *FEW)
    code, out, err = heed("eval", made / "one", *common)
    assert code == 0, err
    report = json.loads(out)
    assert len(report["models"]) == 4
    assert report["headline"] == report["grid"]["advice"]
    assert len(report["grid"]["effects"]) == 6
    log = [json.loads(line) for line in (tmp_path / "out" / "items.jsonl").read_text().splitlines()]
    assert len(log) == 16
    for item in log:
        assert ("Answer in one word." in item["prompt"]) == item["arm"].endswith("system text")
    assert json.loads(heed("eval", made / "one", *common, "--rescore")[1])["grid"] == report["grid"]


def test_other_arms_beside_the_models(heed: Heed, made: Path, tmp_path: Path) -> None:
    """Base bare, in its best frame, few-shot; instruct, and behind a system text: what each saw is kept."""
    system = tmp_path / "system.txt"
    system.write_text("Answer in one word.\n")
    common = ("--system", system, "--few-shot", made / "one", "--out", tmp_path / "out", "--json", *FEW)
    code, out, err = heed("eval", made / "one", *common)
    assert code == 0, err
    report = json.loads(out)
    base, one = str(made / "base"), str(made / "one")
    arms = [base, one, base + " + frame", base + " + few-shot", one + " + system text"]
    assert [model["name"] for model in report["models"]] == arms
    assert [pair["second"] for pair in report["pairs"]] == arms[1:]
    assert "behind up to 3 solved examples" in report["models"][3]["asked"]
    log = [json.loads(line) for line in (tmp_path / "out" / "items.jsonl").read_text().splitlines()]
    assert len(log) == 20
    tested = {
        json.loads(line)["messages"][0]["content"] for line in (made / "one/data/test.jsonl").read_text().splitlines()
    }
    for item in log:
        questions = item["prompt"].count("Say the word number")
        assert questions == (4 if item["arm"].endswith("few-shot") else 1)
        assert sum(question in item["prompt"] for question in tested) == 1  # no solved example is an item
        assert ("Answer in one word." in item["prompt"]) == item["arm"].endswith("system text")
    assert json.loads(heed("eval", made / "one", *common, "--rescore")[1])["pairs"] == report["pairs"]
    gate = (made / "one", "--gate", made / "easy.yaml", "--system", system, "--out", tmp_path / "out", "--json", *FEW)
    assert json.loads(heed("eval", base, *gate)[1])["decision"]["call"] == "ship"


def test_an_instruction_stands_behind_the_questions(heed: Heed, made: Path, tmp_path: Path) -> None:
    """As heed chat puts it: system text once, the question in its frame; the hash of it is in the report."""
    file = tmp_path / "number.prompty"
    text = "---\nname: numbers\ninputs: [{name: asked, kind: string}]\nheed: {trust: {asked: user}}\n---\n"
    file.write_text(text + "system:\n# Task\nSay one number.\n\nuser:\nQuestion: {{ asked }}\n")
    common = ("--system", file, "--out", tmp_path / "out", *FEW)
    code, out, err = heed("eval", made / "one", *common, "--json")
    assert code == 0, err
    report = json.loads(out)
    name = f"{made / 'one'} + instruction numbers"
    asked = report["models"][2]
    assert (asked["name"], "behind the instruction numbers (sha256 " in asked["asked"]) == (name, True)
    assert asked["asked"] in (tmp_path / "out" / "report.md").read_text()
    log = [json.loads(line) for line in (tmp_path / "out" / "items.jsonl").read_text().splitlines()]
    for item in log:
        assert ("# Task\nSay one number." in item["prompt"]) == (item["arm"] == name)
        assert ("Question: Say the word" in item["prompt"]) == (item["arm"] == name)
    again = json.loads(heed("eval", made / "one", *common, "--json", "--rescore")[1])
    assert again["pairs"] == report["pairs"]
    file.write_text(
        text.replace("[{", "[{name: place, kind: string}, {")
        + "system:\n# Task\nSay {{ place }}.\n\nuser:\n{{ asked }}\n"
    )
    code, _, err = heed("eval", made / "one", *common)
    assert (code, "'place' has no value" in err, "default" in err) == (2, True, True), err
    code, _, err = heed("eval", made / "one", "--grid", file)
    assert (code, "a grid has a plain system text" in err) == (2, True), err


def test_a_judge_stands_apart_from_what_was_checked(heed: Heed, run: Path) -> None:
    pytest.importorskip("openai")
    before = json.loads((run / "report.json").read_text())
    with served(lambda asked: "<verdict>1</verdict>") as server:
        common = ("eval", run, "--rescore", "--judge", f"{server.url}#j", *FEW)
        code, out, err = heed(*common, "--json")
        assert code == 0, err
        report = json.loads(out)
        asked = len(server.heard)
        assert 0 < asked <= 8
        assert heed(*common)[0] == 0
        assert len(server.heard) == asked  # nothing is asked twice
    assert report["tasks"] == before["tasks"]
    (figure,) = report["judged"]
    assert (figure["judge"], figure["n"], figure["share"], figure["even"]) == ("j", 4, 0.5, 0.5)
    markdown = (run / "report.md").read_text()
    assert "not checked" in markdown.partition("| task |")[2]
    assert "Judged" in (run / "report.html").read_text()
    told = json.loads((run / "eval" / "judge" / "report.json").read_text())
    assert told["pairs"][0]["all"]["n"] == 4
    assert told["pairs"][0]["position"]["contradicted"] == asked // 2
    pair = ("eval", run.parent / "one", "--data", run.parent / "items.jsonl", "--out", run.parent / "pair", *FEW)
    (run.parent / "items.jsonl").write_text(json.dumps({"prompt": "Name?", "completion": "Ann"}) + "\n")
    with served(lambda asked: "<verdict>tie</verdict>") as server:
        code, out, err = heed(*pair, "--judge", f"{server.url}#j", "--json")
    assert code == 0, err
    assert [figure["share"] for figure in json.loads(out)["judged"]] == [0.5]
    assert (run.parent / "pair" / "judge" / "report.html").is_file()


def test_an_endpoint_is_a_model_like_any_other(heed: Heed, made: Path, tmp_path: Path) -> None:
    pytest.importorskip("openai")
    with served(lambda asked: "oh") as server:
        names = (made / "one", f"{server.url}#mine")
        code, out, err = heed("eval", *names, "--out", tmp_path / "out", "--json", *FEW)
        assert code == 0, err
        assert json.loads(out)["pairs"][0]["tasks"][0]["second"] == 1.0
        assert len(server.heard) == 4


def test_an_endpoint_that_stumbles_is_tried_again(heed: Heed, made: Path, tmp_path: Path) -> None:
    pytest.importorskip("openai")
    with served(lambda asked: 503 if len(server.heard) <= 5 else "oh") as server:
        names = (made / "one", f"{server.url}#mine")
        code, out, err = heed("eval", *names, "--out", tmp_path / "out", "--json", *FEW)
    assert code == 0, err
    (task,) = json.loads(out)["pairs"][0]["tasks"]
    assert (task["second"], task["errors"]["second"]) == (1.0, 0)
    assert len(server.heard) == 4 + 5


def test_an_endpoint_that_is_down_is_a_stop_to_go_on_from(
    heed: Heed, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai")
    monkeypatch.setattr("heedlm.eval.contenders.RETRIES", 0)
    code, _, err = heed("eval", made / "one", "http://127.0.0.1:9/v1#m", "--out", tmp_path / "out", *FEW)
    assert code == 130
    assert "cannot be reached: http://127.0.0.1:9/v1 (m); start the server" in " ".join(err.split())
    assert "go on with" in err
    assert len((tmp_path / "out" / "items.jsonl").read_text().splitlines()) == 4  # of the model that did answer


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("{one}", "{one}"), "named twice"),
        (("{one}", "./nowhere"), "no model folder"),
        (("{base}", "{base}/../base"), "no items to ask"),
        (("{one}", "{base}", "--data", "nowhere.jsonl"), "nowhere.jsonl"),
        (("{base}", "--data", "{rows}"), "needs two models"),
        (("http://127.0.0.1:9/v1",), "an endpoint, not a run"),
        (("{one}", "{base}", "--same-recipe"), "needs two of its trainings"),
        (("{one}", "{base}", "atlas", "--gate", "{gate}"), "judges one model"),
        (("{one}", "{base}", "--set", "train.lr=1"), "is for training"),
        (("{one}", "{base}", "--rescore", "--out", "nothing_here"), "Nothing was asked yet"),
        (("nowhere", "--verify"), "no folder here"),
        (("{one}", "--grid", "nowhere.txt"), "no system text"),
        (("{one}", "{base}", "atlas", "--grid", "{rows}"), "A grid has two models"),
        (("{one}", "--rescore", "--noise-floor"), "has to be asked"),
        (("{one}", "{base}", "--out", "{one}"), "no folder for a comparison"),
        (("{one}", "{base}", "--out", "{rows}"), "no folder for a comparison"),
        (("{one}", "--verfy"), "did you mean --verify"),
        (("{one}", "{base}", "--system", "nowhere.txt"), "--system nowhere.txt"),
        (("{one}", "--few-shot", "nowhere.jsonl"), "nowhere.jsonl"),
        (("{one}", "http://127.0.0.1:9/v1#m", "--few-shot", "{rows}"), "None of these models is a base model"),
        (("{one}", "{base}", "--suite", "forgetting", "--few-shot", "{rows}"), "None of these rows solves"),
        (("{base}", "atlas", "--system", "{rows}", "--suite", "forgetting"), "a place for a system text"),
        (("{one}", "--system", "{rows}", "--grid", "{rows}"), "leave out --system or --grid"),
        (("{one}", "--rubric", "{rows}"), "none is named"),
        (("{one}", "--judge", "./nowhere"), "no model folder"),
        (("{one}", "--judge", "atlas", "--rubric", "nowhere.txt"), "no rubric"),
    ],
)
def test_mistakes_are_mended(heed: Heed, made: Path, arguments: tuple[str, ...], said: str) -> None:
    places = {"one": made / "one", "base": made / "base", "rows": made / "rows.jsonl", "gate": made / "easy.yaml"}
    code, out, err = heed("eval", *(argument.format(**places) for argument in arguments))
    assert (code, out) == (2, "")
    assert said in err


def test_rows_that_were_not_learnt_beside_how_their_tasks_did(heed: Heed, made: Path) -> None:
    code, out, _ = heed("rows", made / "one", "--worst", "3", "--json")
    assert code == 0
    found = json.loads(out)
    assert len(found["worst"]) == 3
    for row in found["worst"]:
        result = found["evaluation"][row["id"]]
        assert (result["task"], result["n"], result["own"]) == ("words", 4, None)
    assert found["not_learnt"] == []  # met once, in the only step: nobody can tell
    code, out, _ = heed("rows", made / "one", "--worst", "3")
    assert out.startswith("Each of these rows was met once")
    assert "3  words:" in out
    assert "(n 4)" in out


def test_rows_of_a_run_that_was_not_evaluated(heed: Heed, run: Path) -> None:
    shutil.rmtree(run / "eval")
    code, out, _ = heed("rows", run, "--json")
    assert code == 0
    assert json.loads(out)["evaluation"] == {}


def test_a_judge_behind_an_evaluation_has_a_budget(heed: Heed, run: Path) -> None:
    pytest.importorskip("openai")
    common = ("eval", run, "--rescore", *FEW)
    with served(lambda asked: "<verdict>tie</verdict>") as server:
        judge = ("--judge", f"{server.url}#j")
        code, out, err = heed(*common, *judge, "--budget-requests", 4, "--json")
        assert code == 0, err
        asked = len(server.heard)
        assert asked <= 4
        (figure,) = json.loads(out)["judged"]
        assert figure["n"] < 4 or asked < 4
        assert any("Stopped at the budget of 4 requests" in note for note in figure["notes"]) == (figure["n"] < 4)
        told = json.loads((run / "eval" / "judge" / "report.json").read_text())
        assert told["spent"]["requests"] == asked
        assert "money" not in told["spent"]
        price = ("--price", f"{server.url}#j=1000,2000")
        code, out, err = heed(*common, *judge, *price, "--budget-money", "0.00001", "--json")
        assert (code, len(server.heard)) == (0, asked)  # what was spent is more than that
        told = json.loads((run / "eval" / "judge" / "report.json").read_text())
        assert told["stopped"] == "0.00001 in money"
        assert float(told["spent"]["money"]) == asked * (10 * 1000 + 5 * 2000) / 1e6
        other = ("--judge", f"{server.url}#other", "--budget-requests", 0)
        code, out, err = heed(*common, *other)
        assert (code, len(server.heard)) == (0, asked)
        assert "The judge reached no verdict" in err


def test_what_an_endpoint_costs_stands_in_log_and_report(heed: Heed, made: Path, tmp_path: Path) -> None:
    """Ten tokens of prompt and five of an answer for each of four items, at 2 and 6 a million."""
    pytest.importorskip("openai")
    out = tmp_path / "out"
    with served(lambda asked: "oh") as server:
        name = f"{server.url}#mine"
        common = ("eval", made / "one", name, "--out", out, *FEW)
        assert heed(*common)[0] == 0
        lines = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
        assert [(line["prompt_tokens"], line["tokens"], line["money"]) for line in lines[4:]] == [(10, 5, None)] * 4
        assert "Asking cost" not in (out / "report.md").read_text()
        code, printed, err = heed(*common, "--price", f"{name}=2,6", "--json")
        assert code == 0, err
        assert len(server.heard) == 4  # the price is put to what was asked before
        lines = [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]
        assert [line["money"] for line in lines[-4:]] == [pytest.approx(5e-5)] * 4
        replies = json.loads(printed)["replies"]
        assert (replies[name]["prompt_tokens"], replies[name]["money"]) == (40, pytest.approx(2e-4))
        assert replies[str(made / "one")]["money"] is None
        assert f"Asking cost, by the prices given: {name}: 0.0002." in (out / "report.md").read_text()
        assert "<th>money</th>" in (out / "report.html").read_text().replace(' scope="col"', "")
        heed(*common)  # without a price, the log still has it
        assert "Asking cost" in (out / "report.md").read_text()


def test_all_that_is_wrong_is_told_at_once(heed: Heed, made: Path, run: Path, tmp_path: Path) -> None:
    """Before anything is asked: models, suites, gates, prices and judges."""
    (tmp_path / "bad.yaml").write_text("stop_rate: 7\n")
    wrong = ("--gate", tmp_path / "bad.yaml", "--suite", "constraintz", "--against", tmp_path / "no-model")
    code, _, err = heed(
        "eval", run, *wrong, "--price", "x=1,2", "--judge", tmp_path / "no-judge", "--budget-tokens", -1
    )
    assert code == 2
    for said in ("stop_rate", "did you mean 'constraints'", "no-model", "--price x=1,2", "no-judge", "--budget-tokens"):
        assert said in err, said
    models = ("eval", tmp_path / "none", f"{run}@last", "--out", tmp_path / "out", "--system", tmp_path / "no-text")
    code, _, err = heed(*models, "--few-shot", tmp_path / "no-rows.jsonl", "--data", tmp_path / "no-items.jsonl")
    assert code == 2
    for said in ("none", "no checkpoints", "no-text", "no-rows.jsonl", "no-items.jsonl"):
        assert said in err, said
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_alone_is_compared_with_its_base(heed: Heed, made: Path, tmp_path: Path) -> None:
    """What interrupts a run leaves its checkpoints; here those of a run whose end is taken away."""
    run = tmp_path / "begun"
    common = ["--model", str(made / "base"), "--data", str(made / "rows.jsonl"), "--set", "data.test=0.3"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("heedlm.train.sft.shutil.rmtree", lambda folder, ignore_errors=False: None)
        command = ["train", *common, "--run", str(run), "--set", "train.max_steps=2", "--set", "train.panel=0"]
        with pytest.raises(SystemExit):
            cli.main([*command, "--quiet"])
    shutil.rmtree(run / "model")
    code, out, err = heed("eval", f"{run}@last", "--out", tmp_path / "out", "--json", *FEW)
    assert code == 0, err
    told = json.loads(out)
    assert [model["name"] for model in told["models"]] == [str(made / "base"), f"{run}@last"]
    assert "weights of step 2" in told["models"][1]["asked"]
    code, _, err = heed("eval", run)  # the run itself has no result to evaluate
    assert (code, f"heed eval {run}@last" in " ".join(err.split())) == (2, True), err
    code, out, err = heed("eval", f"{run}@step-2", "--against", f"{run}@0", "--out", tmp_path / "two", "--json", *FEW)
    assert (code, [model["name"] for model in json.loads(out or "{}").get("models", [])]) == (
        0,
        [f"{run}@0", f"{run}@step-2"],
    ), err

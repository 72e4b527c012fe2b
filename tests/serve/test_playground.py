from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest

from heedlm.config import Recipe
from heedlm.data import human
from heedlm.errors import HeedError
from heedlm.eval.checks import CHECK_TYPES
from heedlm.eval.suites.read import read_suite
from heedlm.recipe_file import load_recipe
from heedlm.runs import Run, write_text
from heedlm.serve import playground as room
from heedlm.serve.playground import Answer, Playground
from heedlm.serve.playground_desk import Desk
from heedlm.serve.playground_judge import Item, judge

HOST = {"host": "127.0.0.1:8000"}
JSON = {**HOST, "content-type": "application/json"}
FIX = {
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Capital of Australia?"}],
    "reply": "Sydney.",
    "answer": "Canberra.",
    "model": "demo",
    "author": "Ann",
    "licence": "CC0-1.0",
    "consent": "training",
    "checks": [{"type": "icontains", "value": "canberra"}],
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(
        tmp_path / "human.jsonl",
        tmp_path / "cases.jsonl",
        tmp_path / "votes.jsonl",
        tmp_path / "next.yaml",
        model="atlas",
    )


def post(desk: Desk, name: str, value: Any, headers: dict[str, str] = JSON, **how: Any) -> Answer:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Playground(desk, **how).answer("POST", f"/ui/api/{name}", headers, body)


def get(desk: Desk, name: str) -> Any:
    found = Playground(desk).answer("GET", f"/ui/api/{name}", HOST)
    assert found.status == 200
    return json.loads(found.body)


def error_of(found: Answer) -> str:
    error = json.loads(found.body)["error"]
    assert error["message"]
    assert error["mend"]
    return str(error["message"])


# Pages ---------------------------------------------------------------------------------------------------------------


def test_pages_are_served_with_a_policy_that_lets_nothing_else_run(desk: Desk) -> None:
    found = Playground(desk).answer("GET", "/ui/?a=b", {})
    headers = dict(found.headers)
    assert (found.status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert int(headers["Content-Length"]) == len(found.body)
    assert Playground(desk).answer("HEAD", "/ui/", {}).body == b""


def test_every_file_a_page_names_is_there_and_from_here(desk: Desk) -> None:
    served = Playground(desk)
    page = served.answer("GET", "/ui/", {}).body.decode()
    names = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert {"app.js", "style.css", "theme.js"} <= set(names)
    done: set[str] = set()
    while names:
        name = names.pop()
        assert not re.match(r"(?:https?:)?//", name)
        found = served.answer("GET", f"/ui/{name}", {})
        assert found.status == 200, name
        done.add(name)
        if name.endswith(".js"):
            names += [one for one in re.findall(r'from "\./([^"]+)"', found.body.decode()) if one not in done]
    folder = Path(room.__file__).with_name("ui")
    assert done | {"index.html"} == {entry.name for entry in folder.iterdir()}  # and no file that no page needs


def test_scripts_put_text_on_the_page_as_text_alone() -> None:
    for entry in Path(room.__file__).with_name("ui").glob("*.js"):
        source = entry.read_text("utf-8")
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "srcdoc",
        ):
            assert way not in source, (entry.name, way)
    page = Path(room.__file__).with_name("ui") / "index.html"
    assert not re.search(r"\son\w+=|style=|javascript:", page.read_text("utf-8"))


@pytest.mark.parametrize(
    "path",
    [
        "/ui/../playground.py",
        "/ui/%2e%2e/playground.py",
        "/ui/..%2fapi.py",
        "/ui//etc/passwd",
        "/ui/app.js/",
        "/ui/\x00",
    ],
)
def test_no_path_leads_out_of_the_pages(desk: Desk, path: str) -> None:
    assert Playground(desk).answer("GET", path, {}).status == 404


def test_the_address_without_its_slash_leads_to_the_page(desk: Desk) -> None:
    found = Playground(desk).answer("GET", "/ui", {})
    assert (found.status, dict(found.headers)["Location"]) == (307, "/ui/")
    assert Playground(desk).answer("POST", "/ui/", JSON).status == 405


# Who may write -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"host": "evil.example:8000"}, "only this machine"),
        ({"host": ""}, "only this machine"),
        ({"origin": "http://evil.example"}, "another site"),
        ({"origin": "null"}, "another site"),
        ({"origin": "http://127.0.0.1:9999"}, "another site"),
        ({"sec-fetch-site": "cross-site"}, "another site"),
        ({"sec-fetch-site": "same-site"}, "another site"),
        ({"content-type": "text/plain"}, "JSON"),
        ({"content-type": ""}, "JSON"),
    ],
)
def test_another_site_cannot_write_rows(desk: Desk, headers: dict[str, str], why: str) -> None:
    found = post(desk, "fix", FIX, {**JSON, **headers})
    assert found.status == 403
    assert why in error_of(found)
    assert not desk.store.exists()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"},
        {"host": "localhost:1", "origin": "http://localhost:1"},
        {"host": "[::1]:1", "content-type": "application/json; charset=utf-8"},
    ],
)
def test_its_own_pages_can(desk: Desk, headers: dict[str, str]) -> None:
    assert post(desk, "fix", FIX, {**JSON, **headers}).status == 200


def test_with_a_key_the_name_of_the_machine_does_not_matter(desk: Desk) -> None:
    assert (
        post(
            desk, "votes", {"vote": 1, "answer": "a", "model": "m"}, {**JSON, "host": "gpu.lan"}, key_needed=True
        ).status
        == 200
    )


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "what"),
    [
        ("fix", b"", "not JSON"),
        ("fix", b"\xff", "not JSON"),
        ("fix", b"[" * 100_000, "not JSON"),
        ("votes", b'{"vote": 1, "answer": "a", "model": "m", "sampling": {"temperature": NaN}}', "not JSON"),
        ("votes", b'{"vote": 1, "answer": "a", "model": "m", "note": "\\ud800"}', "not JSON"),
        ("fix", [], "not a JSON object"),
        ("fix", {}, "messages is no list"),
        ("fix", {**FIX, "messages": []}, "messages is no list"),
        ("fix", {**FIX, "messages": [{"role": "king", "content": "x"}]}, "messages is no list"),
        ("fix", {**FIX, "messages": [{"role": "user", "content": 5}]}, "messages is no list"),
        ("fix", {**FIX, "messages": [{"role": "assistant", "content": "x"}]}, "not the user's"),
        ("fix", {**FIX, "answer": "  "}, "answer is missing"),
        ("fix", {**FIX, "answer": 7}, "answer is no text"),
        ("fix", {**FIX, "author": ""}, "author is missing"),
        ("fix", {**FIX, "author": "A\nB"}, "no plain line"),
        ("fix", {**FIX, "checks": []}, "no checks"),
        ("fix", {**FIX, "checks": [{"type": "contain", "value": "x"}]}, "unknown check type"),
        ("fix", {**FIX, "checks": [{"type": "regex", "value": "("}]}, "no pattern"),
        ("fix", {**FIX, "checks": [{"type": "contains", "value": "Sydney"}]}, "does not pass its own checks"),
        ("fix", {**FIX, "answer": "Sydney. ", "checks": [{"type": "contains", "value": "Sydney"}]}, "says the same"),
        ("votes", {"vote": 2, "answer": "a", "model": "m"}, "vote is 2"),
        ("votes", {"vote": True, "answer": "a", "model": "m"}, "vote is True"),
        ("votes", {"vote": 1, "model": "m"}, "answer is missing"),
        ("check", {"items": "x"}, "no list of objects"),
        ("cases/remove", {"id": "nothing"}, "no case"),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(desk: Desk, name: str, value: Any, what: str) -> None:
    found = post(desk, name, value)
    assert found.status == 422
    assert what in error_of(found)
    assert list(desk.store.parent.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told(desk: Desk) -> None:
    desk.keep_cases.mkdir()
    found = post(desk, "fix", FIX)
    assert found.status in (422, 500)
    assert error_of(found)
    desk.keep_votes.mkdir()
    assert error_of(post(desk, "votes", {"vote": 1, "answer": "a", "model": "m"}))


def test_unknown_names_and_wrong_verbs_are_told(desk: Desk) -> None:
    found = Playground(desk).answer("GET", "/ui/api/vote", HOST)
    assert found.status == 404
    assert "votes" in json.loads(found.body)["error"]["mend"]
    assert Playground(desk).answer("GET", "/ui/api/fix", HOST).status == 405


# The loop ------------------------------------------------------------------------------------------------------------


def test_a_fix_is_a_row_a_case_and_the_next_recipe(desk: Desk) -> None:
    done = json.loads(post(desk, "fix", FIX).body)
    rows, problems = human.read_human(desk.store)
    assert (problems, rows[0].id) == ([], done["row"]["id"])
    row = human.as_row(rows[0])
    assert [turn["content"] for turn in row["messages"]] == ["Be brief.", "Capital of Australia?", "Canberra."]
    assert row["rejected"] == [{"role": "assistant", "content": "Sydney."}]
    assert row["meta"].items() >= {"by": "human", "author": "Ann", "licence": "CC0-1.0", "consent": "training"}.items()
    task = read_suite(desk.keep_cases.with_suffix(".yaml")).tasks[0].task
    assert (task.name, task.examples[0].id, task.examples[0].meta["taught"]) == ("regression", done["case"], True)
    assert task.scorer(task.examples[0], "It is Canberra").value == 1
    assert done["next"][0] == f"heed train {desk.recipe} --run runs/first"
    assert load_recipe(Recipe, desk.recipe).eval.suites == (str(desk.keep_cases.with_suffix(".yaml")),)


def test_a_question_that_is_mended_again_has_one_answer_in_the_end(desk: Desk) -> None:
    first = json.loads(post(desk, "fix", FIX).body)
    again = {**FIX, "answer": "It is Canberra, not Sydney.", "checks": [{"type": "contains", "value": "not Sydney"}]}
    second = json.loads(post(desk, "fix", again).body)
    assert (second["row"]["id"], first["row"]["anew"], second["row"]["anew"]) == (first["row"]["id"], False, True)
    rows, _ = human.read_human(desk.store)
    assert [row.row["messages"][-1]["content"] for row in rows] == ["It is Canberra, not Sydney."]
    assert [one["id"] for one in get(desk, "cases")["cases"]] == [second["case"]]
    human.withdraw(desk.store, second["row"]["id"], human.About("Ann"))
    third = json.loads(post(desk, "fix", FIX).body)  # what was taken back stays so; this is a new row
    assert third["row"]["id"] != second["row"]["id"]
    assert json.loads(post(desk, "fix", {**FIX, "messages": FIX["messages"][1:]}).body)["row"]["anew"] is False  # type: ignore[index]


def test_the_recipe_of_the_run_is_kept_and_what_is_missing_is_added_once(desk: Desk, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs" / "mine")
    write_text(
        run.recipe,
        "data: {sources: [rows.jsonl], test: 0.2}\nmodel: {path: some/base, method: lora}\ntrain: {lr: 0.001}\n",
    )
    served = Desk(desk.store, desk.keep_cases, desk.keep_votes, desk.recipe, run=run.root)
    assert json.loads(post(served, "fix", FIX).body)["next"][1] == f"heed eval {tmp_path}/runs/mine-2"
    recipe = load_recipe(Recipe, desk.recipe)
    assert [one.path for one in recipe.data.sources] == ["rows.jsonl", str(desk.store)]
    assert recipe.eval.suites == ("held_out", str(desk.keep_cases.with_suffix(".yaml")))
    assert (recipe.model.method, recipe.train.lr, recipe.data.test) == ("lora", 0.001, 0.2)
    mine = desk.recipe.read_text() + "# mine\n"
    desk.recipe.write_text(mine)
    post(served, "fix", {**FIX, "messages": [{"role": "user", "content": "And of Austria?"}]})
    assert desk.recipe.read_text() == mine  # a comment of the user's is not lost while nothing is missing


def test_a_run_whose_rows_were_prepared_beforehand_is_gone_on_with_by_its_files(desk: Desk, tmp_path: Path) -> None:
    run = Run.create(tmp_path / "mine")
    write_text(run.recipe, "model: {path: atlas}\n")
    for name in ("train", "test"):
        write_text(run.data / f"{name}.jsonl", "{}\n")
    post(Desk(desk.store, desk.keep_cases, desk.keep_votes, desk.recipe, run=run.root), "fix", FIX)
    data = load_recipe(Recipe, desk.recipe).data
    assert [one.path for one in data.sources] == [str(run.data / "train.jsonl"), str(desk.store)]
    assert (data.val, data.test) == (None, str(run.data / "test.jsonl"))


def test_a_broken_recipe_stops_a_fix_before_anything_is_written(desk: Desk) -> None:
    desk.recipe.write_text("data: {sauces: [x]}\n")
    found = post(desk, "fix", FIX)
    assert found.status == 422
    assert not desk.store.exists()
    assert not desk.keep_cases.exists()


def test_prepare_takes_every_mended_answer_into_training(desk: Desk, tmp_path: Path) -> None:
    from heedlm.data.prepare import Source, prepare

    for number in range(12):
        asked = [{"role": "user", "content": f"What is the number after {number}?"}]
        checks = [{"type": "contains", "value": str(number + 1)}]
        given = {**FIX, "messages": asked, "answer": f"It is {number + 1}.", "checks": checks}
        assert post(desk, "fix", given).status == 200
    other = tmp_path / "rows.jsonl"
    lines = [{"prompt": f"Say the word of day {n}.", "completion": f"Word {n} is a good word."} for n in range(40)]
    other.write_text("".join(json.dumps(line) + "\n" for line in lines))
    out = tmp_path / "data"
    report = prepare([Source(other), Source(desk.store)], out, val=0.3, test=0.3, seed=0)
    taken = [
        line
        for line in (out / "train.jsonl").read_text().splitlines()
        if '"by": "human"' in line or '"by":"human"' in line
    ]
    assert len(taken) == 12  # a mend is there to be learned: shares of val and test come from the others
    assert report.splits["val"] + report.splits["test"] > 10


def test_items_that_are_taught_on_purpose_are_no_leaks(desk: Desk) -> None:
    from heedlm.data.row import Row
    from heedlm.data.schema import to_example
    from heedlm.eval.leaks import find_leaks, find_taught
    from heedlm.messages import Example

    post(
        desk,
        "cases",
        {"messages": [{"role": "user", "content": "capital of  australia"}], "checks": FIX["checks"], "author": "Bo"},
    )
    before = read_suite(desk.keep_cases.with_suffix(".yaml")).tasks[0].task.examples
    post(desk, "fix", FIX)
    after = read_suite(desk.keep_cases.with_suffix(".yaml")).tasks[0].task.examples
    trained = to_example(Row(human.as_row(human.read_human(desk.store)[0][0]), "human.jsonl:1"))
    assert isinstance(trained, Example)
    assert len(find_leaks(before, [trained])) == 1  # asked before, and not meant to be taught
    assert find_leaks(after, [trained]) == []  # since the fix, what asks the same is
    assert len(find_taught(after, [trained])) == 2
    assert find_taught(after, []) == find_taught(before, [trained]) == []


# Cases, checks, votes ------------------------------------------------------------------------------------------------


def test_cases_are_saved_judged_and_taken_away(desk: Desk) -> None:
    assert get(desk, "cases") == {"cases": [], "problems": []}
    given = {
        "messages": [{"role": "user", "content": "Say yes."}],
        "author": "Ann",
        "checks": [{"type": "iequals", "value": "yes"}],
    }
    name = json.loads(post(desk, "cases", given).body)["case"]
    assert json.loads(post(desk, "cases", given).body)["case"] == name  # the same again is the same case
    found = get(desk, "cases")["cases"]
    assert [(one["id"], one["messages"][-1]["content"], one["answer"]) for one in found] == [(name, "Say yes.", "")]
    items = [{"checks": given["checks"], "reply": reply} for reply in ("Yes", "no", " ")]
    results = json.loads(post(desk, "check", {"items": items}).body)["results"]
    assert [one["passed"] for one in results] == [True, False, False]
    assert results[2]["verdicts"][0]["why"] == "the reply is empty"
    assert post(desk, "cases/remove", {"id": name}).status == 200
    assert get(desk, "cases")["cases"] == []


def test_a_pattern_that_never_ends_is_given_up() -> None:
    slow = Item([{"type": "regex", "value": "(a+)+$"}], "a" * 40 + "b")
    quick = Item([{"type": "not-regex", "value": "[0-9]"}, {"type": "contains", "value": "a"}], "a")
    plain = Item([{"type": "contains", "value": "b"}], "a")
    assert [one["passed"] for one in judge([plain, quick, plain])] == [False, True, False]
    with pytest.raises(HeedError, match="not come to an end"):
        judge([quick, slow], patience=4)


def test_a_damaged_line_of_cases_is_told_and_never_lost(desk: Desk) -> None:
    post(desk, "cases", {"messages": [{"role": "user", "content": "a"}], "author": "Ann", "checks": FIX["checks"]})
    whole = desk.keep_cases.read_text()
    desk.keep_cases.write_text(whole + '{"id": "torn')
    assert len(get(desk, "cases")["cases"]) == len(get(desk, "cases")["problems"]) == 1
    for name, given in (("fix", FIX), ("cases/remove", {"id": json.loads(whole)["id"]})):
        assert post(desk, name, given).status == 422
    assert desk.keep_cases.read_text() == whole + '{"id": "torn'
    assert not desk.store.exists()


def test_cases_written_by_hand_are_read(desk: Desk) -> None:
    desk.keep_cases.write_text(
        '{"prompt": "Say a.", "checks": [{"type": "contains", "value": "a"}]}\n{"messages": 5}\n'
    )
    first, second = get(desk, "cases")["cases"]
    assert first["messages"] == [{"role": "user", "content": "Say a."}]
    assert second["messages"] == []


def test_two_people_at_once_lose_nothing(desk: Desk) -> None:
    served = Playground(desk)

    def write(number: int) -> None:
        given = {**FIX, "messages": [{"role": "user", "content": f"Question {number}?"}]}
        assert served.answer("POST", "/ui/api/fix", JSON, json.dumps(given).encode()).status == 200

    threads = [threading.Thread(target=write, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(get(desk, "cases")["cases"]) == 12
    assert len(human.read_human(desk.store)[0]) == 12


def test_votes_count_as_they_were_given_last(desk: Desk) -> None:
    assert get(desk, "votes") == {"tally": [], "answers": 0, "problems": []}
    for answer, model, vote, note in (("1", "a", 1, ""), ("2", "a", -1, "dull"), ("3", "b", 1, ""), ("1", "a", 0, "")):
        post(
            desk,
            "votes",
            {"answer": answer, "model": model, "format": "own", "vote": vote, "note": note, "question": "Why?"},
        )
    tally = {one["model"]: one for one in get(desk, "votes")["tally"]}
    assert (tally["a"]["good"], tally["a"]["bad"], tally["b"]["good"]) == (0, 1, 1)
    assert tally["a"]["notes"] == [{"question": "Why?", "reply": "", "note": "dull", "vote": -1}]


def test_the_page_learns_every_check_there_is(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEED_AUTHOR", "Ann")
    found = get(desk, "setup")
    assert tuple(one["type"] for one in found["checks"]) == CHECK_TYPES
    assert next(one for one in found["checks"] if one["type"] == "word-count")["takes"] == ["equal", "min", "max"]
    assert (found["author"], found["key_needed"]) == ("Ann", False)
    assert not desk.store.parent.joinpath("human.jsonl").exists()

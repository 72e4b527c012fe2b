"""Under which licence rows stand: as each row says, as a person says of the source, or as the data set says of itself."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from heedlm import api
from heedlm.data import hub
from heedlm.data.inspect import inspect_files
from heedlm.data.licences import Licence, of_folder, of_readme
from heedlm.data.prepare import PrepareReport, Source, prepare
from heedlm.data.sources import licence_of
from heedlm.errors import HeedError

ROWS: list[dict[str, Any]] = [{"prompt": f"Name colour {n}.", "completion": f"It is blue {n}."} for n in range(6)]
README = "---\nlicense: cc-by-4.0\nlanguage: [en]\n---\n# Colours\n\nlicense: not here\n"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def made(out: Path, *sources: Source, **changed: Any) -> tuple[PrepareReport, dict[str, Any]]:
    report = prepare(sources, out, **{"val": None, "test": None, "seed": 0, "workers": 1, **changed})
    return report, json.loads((out / "card.json").read_text())


def licences(report: PrepareReport) -> list[str | None]:
    lines = (report.out / "train.jsonl").read_text().splitlines()
    return [json.loads(line).get("meta", {}).get("licence") for line in lines]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (README, "cc-by-4.0"),
        (README.replace("\n", "\r\n"), "cc-by-4.0"),
        ("---\nlicense:\n- mit\n- apache-2.0\n---\n", "mit, apache-2.0"),
        ("---\nlicense: other\nlicense_name: our-own-1.0\n---\n", "our-own-1.0"),
        ("---\nlicense: unknown\n---\n", None),
        ("---\nlicense: {a: b}\n---\n", None),
        ("---\nlicense: 'never closed\n---\n", None),
        ("---\n- a list\n---\n", None),
        ("# No head\n---\nlicense: mit\n---\n", None),
        ("", None),
        ("---\n", None),
    ],
)
def test_the_head_of_a_readme(tmp_path: Path, text: str, name: str | None) -> None:
    (tmp_path / "README.md").write_bytes(text.encode())
    assert of_readme(tmp_path / "README.md") == (Licence(name, "its README") if name else None)
    assert of_folder(tmp_path) == of_readme(tmp_path / "README.md")


def test_a_readme_that_is_not_there_or_not_text_names_nothing(tmp_path: Path) -> None:
    assert of_readme(tmp_path / "README.md") is None
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\xfe\x00\n---\n")
    assert of_readme(tmp_path / "README.md") is None
    (tmp_path / "folder" / "README.md").mkdir(parents=True)
    assert of_folder(tmp_path / "folder") is None


def test_what_a_person_says_is_written_into_rows_that_name_none_and_counted(tmp_path: Path) -> None:
    own = write(tmp_path / "own.jsonl", [*ROWS[:4], {**ROWS[4], "licence": "MIT"}, {**ROWS[5], "license": None}])
    plain = write(tmp_path / "plain.jsonl", [{"prompt": "And this?", "completion": "No idea."}])
    report, card = made(tmp_path / "out", Source(own, licence="CC0-1.0"), Source(plain))
    assert sorted(map(str, licences(report))) == ["CC0-1.0"] * 5 + ["MIT", "None"]
    assert card["licences"] == {"CC0-1.0": 5, "MIT": 1, "unknown": 1}
    first, second = card["sources"].values()
    assert (first["licences"], first["licence_by"]) == ({"CC0-1.0": 5, "MIT": 1}, "the recipe")
    assert (second["licences"], second["licence_by"]) == ("unknown", "")
    assert "licences: CC0-1.0 5, MIT 1, unknown 1" in report.notes
    for page in ("card.md", "card.html"):
        text = (report.out / page).read_text()
        assert "CC0-1.0 (5), MIT (1); of rows that name none it is told by the recipe" in text
        assert "Licences" in text


def test_without_any_licence_nothing_is_said(tmp_path: Path) -> None:
    report, card = made(tmp_path / "out", Source(write(tmp_path / "a.jsonl", ROWS)))
    assert card["licences"] == {"unknown": 6}
    assert not any("licence" in note for note in report.notes)
    assert "## Licences" not in (report.out / "card.md").read_text()


def test_rows_that_are_left_out_later_are_not_counted(tmp_path: Path) -> None:
    """Near-duplicates are taken back from the counts, with the licence that they were given."""
    long = "The ferry leaves the old harbour in the morning and comes back when the lamps are lit on the piers of the town."
    alike = [
        {"prompt": "Tell me of the ferry.", "completion": long + end} for end in (" It is so.", " It is so, then.")
    ]
    from heedlm.data.checks import Checks

    source = Source(write(tmp_path / "a.jsonl", [*ROWS, *alike]), licence="MIT")
    _, card = made(tmp_path / "out", source, checks=Checks(near_duplicates="drop", similarity=0.6))
    assert card["near_duplicates"]["rows"] == 1
    assert card["licences"] == {"MIT": 7}


def test_a_folder_says_its_licence_and_a_person_wins_over_it(tmp_path: Path) -> None:
    folder = write(tmp_path / "set" / "rows.jsonl", ROWS).parent
    (folder / "README.md").write_text(README)
    report, card = made(tmp_path / "out", Source(folder))
    assert set(licences(report)) == {"cc-by-4.0"}
    assert next(iter(card["sources"].values()))["licence_by"] == "its README"
    report, card = made(tmp_path / "out", Source(folder, licence="MIT"))
    assert set(licences(report)) == {"MIT"}
    assert report.why == f"{folder / 'rows.jsonl'} has another licence"
    assert next(iter(card["sources"].values()))["licence_by"] == "the recipe (its README says cc-by-4.0)"
    assert made(tmp_path / "out", Source(folder, licence="MIT"))[0].reused
    report, card = made(tmp_path / "out2", Source(folder, licence="CC-BY-4.0"))
    assert next(iter(card["sources"].values()))["licence_by"] == "the recipe"  # the same name, written otherwise


def test_looking_at_a_folder_tells_its_licence(tmp_path: Path) -> None:
    folder = write(tmp_path / "set" / "rows.jsonl", [*ROWS, {**ROWS[0], "licence": "MIT"}]).parent
    (folder / "README.md").write_text(README)
    other = write(tmp_path / "other.jsonl", ROWS[:2])
    assert inspect_files([folder, other]).licences == {"cc-by-4.0": 6, "MIT": 1}


def test_rows_of_prompt_templates_get_it_too(tmp_path: Path) -> None:
    rows = [{"text": f"The {word} was awful.", "label": "neg"} for word in ("soup", "film", "hotel")]
    rows += [{"text": f"The {word} was splendid.", "label": "pos"} for word in ("train", "book", "lamp")]
    source = {"path": str(write(tmp_path / "t.jsonl", rows)), "prompts": "classify-text", "licence": "MIT"}
    report = api.prepare(run=tmp_path / "run", settings={"data.sources": [source], "data.val": None, "data.test": None})
    assert set(licences(report)) == {"MIT"}


def test_an_empty_licence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HeedError, match=r"data\.sources\.0\.licence"):
        api.make_recipe(settings={"data.sources": [{"path": "a.jsonl", "licence": ""}]})


@pytest.fixture
def library(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The library, with a cache of its own and no network."""
    library = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    library.disable_progress_bars()
    hub.loaded.cache_clear()
    return library


def test_the_info_of_a_dataset_of_the_hub_names_it(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A builder of the library makes the rows; `DatasetInfo.license` is what its own code would set."""
    folder = write(tmp_path / "set" / "train.jsonl", ROWS).parent
    load = library.load_dataset

    def with_info(*given: Any, **options: Any) -> Any:
        found = load(*given, **options)
        found.info.license = "CC-BY-SA-3.0"
        return found

    monkeypatch.setattr("datasets.load_dataset", with_info)
    assert licence_of(Path(f"hub:{folder}")) == Licence("CC-BY-SA-3.0", "its data set info")
    report, card = made(tmp_path / "out", Source(Path(f"hub:{folder}")))
    assert set(licences(report)) == {"CC-BY-SA-3.0"}
    assert card["licences"] == {"CC-BY-SA-3.0": 6}
    assert next(iter(card["sources"].values()))["licence_by"] == "its data set info"


def test_the_readme_of_a_dataset_of_the_hub_names_it(library: Any, tmp_path: Path) -> None:
    folder = write(tmp_path / "set" / "train.jsonl", ROWS).parent
    assert licence_of(Path(f"hub:{folder}")) is None
    (folder / "README.md").write_text(README)
    hub.loaded.cache_clear()
    assert licence_of(Path(f"hub:{folder}")) == Licence("cc-by-4.0", "its README")


def test_the_readme_is_found_in_the_cache_of_the_hub(
    library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its library lays it out after loading: refs, snapshots."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "datasets--own--colours"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots" / commit / "README.md").write_text(README)
    assert hub._licence("own/colours", None) == Licence("cc-by-4.0", "its README")
    assert hub._licence("own/colours", commit) == Licence("cc-by-4.0", "its README")
    assert hub._licence("own/others", None) is None


def test_a_saved_dataset_names_it(library: Any, tmp_path: Path) -> None:
    one = library.Dataset.from_list(ROWS)
    one.info.license = "ODC-By-1.0"
    one.save_to_disk(tmp_path / "saved")
    report, _ = made(tmp_path / "out", Source(tmp_path / "saved"))
    assert set(licences(report)) == {"ODC-By-1.0"}


def test_a_hub_that_cannot_be_reached_is_told_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own library asks six times and gives up after 24 s. What was loaded before is found without it."""
    library = pytest.importorskip("datasets")
    library.disable_progress_bars()
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    hub.loaded.cache_clear()
    began = time.perf_counter()
    with pytest.raises(
        HeedError, match="the hub cannot be reached, and the dataset was not loaded here before"
    ) as caught:
        licence_of(Path("hub:nobody/nothing"))
    assert time.perf_counter() - began < 10
    (problem,) = caught.value.problems
    assert "http://127.0.0.1:9" in problem.what
    assert "hf download --repo-type dataset nobody/nothing" in problem.mend
    from huggingface_hub import constants

    assert not constants.HF_HUB_OFFLINE  # asked again next time

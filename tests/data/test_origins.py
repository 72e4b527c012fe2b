"""Rows from elsewhere than one file: standard input, the hub, saved datasets, mixed folders, documents."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heedlm.corpora import documents_of
from heedlm.data import hub
from heedlm.data.documents import read_documents
from heedlm.data.prepare import PrepareReport, Source, prepare
from heedlm.data.sources import STDIN, Row, data_files, read_rows
from heedlm.errors import HeedError
from heedlm.pretrain_config import PretrainRecipe

PAIRS = [{"prompt": f"What is {i}?", "completion": f"It is {i}."} for i in range(4)]
LINES = "".join(json.dumps(row) + "\n" for row in PAIRS)
CSV = "prompt,completion\n" + "".join(f"{row['prompt']},{row['completion']}\n" for row in PAIRS)


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(PAIRS), file)
    return file.getvalue()


def found(path: Path) -> list[dict[str, Any]]:
    rows = list(read_rows(path))
    assert all(isinstance(row, Row) for row in rows), rows
    return [row.value for row in rows if isinstance(row, Row)]


def run(source: Path | str, folder: Path) -> PrepareReport:
    return prepare([Source(Path(source))], folder / "out", val=None, test=None, seed=0)


@pytest.fixture
def stdin(monkeypatch):
    """Puts bytes into standard input."""

    def put(data: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))

    return put


@pytest.mark.parametrize(
    "data",
    [LINES.encode(), gzip.compress(LINES.encode()), json.dumps(PAIRS).encode(), CSV.encode(), parquet()],
    ids=["lines", "gzip", "list", "csv", "parquet"],
)
def test_standard_input_is_read_whatever_it_holds_and_more_than_once(stdin, data):
    stdin(data)
    assert found(Path("-")) == PAIRS
    assert found(STDIN) == PAIRS
    where = [row.where for row in read_rows(Path("-"))]
    assert where[0] in ("<stdin>:1", "<stdin>:2", "<stdin>:row 1")


def test_rows_piped_in_are_prepared_and_the_same_rows_are_not_prepared_twice(stdin, tmp_path):
    stdin(LINES.encode())
    assert run("-", tmp_path).kept == 4
    assert json.loads((tmp_path / "out" / "train.jsonl").open().readline())["source"] == "<stdin>:1"
    stdin(LINES.encode())
    assert run("-", tmp_path).reused
    stdin(LINES.encode() + b'{"prompt": "One more?", "completion": "Yes."}\n')
    again = run("-", tmp_path)
    assert (again.kept, again.why) == (5, "<stdin> has changed")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"Once upon a time\n", "no known kind"),
        (b"Once\rupon\n, a\rtime\n", "no known kind"),
        (b"Well, well\nI said, to, myself\n", "no known kind"),
    ],
)
def test_standard_input_that_holds_no_rows_is_refused(stdin, data, says):
    stdin(data)
    with pytest.raises(HeedError, match=says):
        list(read_rows(Path("-")))


def test_a_terminal_is_not_waited_for(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    with pytest.raises(HeedError, match="is a terminal") as caught:
        data_files(Path("-"))
    assert "--data -" in caught.value.problems[0].mend


def test_the_copy_of_standard_input_is_gone_when_the_process_ends(tmp_path):
    code = "from pathlib import Path; from heedlm.data.sources import read_rows; print(len(list(read_rows(Path('-')))))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=LINES,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.stdout.strip() == "4"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_may_mix_all_kinds_of_files(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "a.jsonl").write_text(LINES)
    (folder / "b.csv").write_text(CSV)
    (folder / "c.parquet").write_bytes(parquet())
    (folder / "d.jsonl.zst").write_bytes(pa.compress(LINES.encode(), codec="zstd", asbytes=True))
    (folder / "e.tsv.gz").write_bytes(gzip.compress(CSV.replace(",", "\t").encode()))
    (folder / "f.txt").write_text("### Human: Name a colour.### Assistant: Blue.")
    (folder / "README.md").write_text("These are rows.")
    (folder / "LICENSE.txt").write_text("Take them.")
    (folder / "more").mkdir()
    assert [file.name[0] for file in data_files(folder)] == list("abcdef")
    assert found(folder) == [*PAIRS * 5, {"text": "### Human: Name a colour.### Assistant: Blue."}]
    report = run(folder, tmp_path)
    assert (report.kept, report.duplicates) == (5, 16)


def test_the_content_decides_before_the_name(tmp_path):
    (tmp_path / "rows.csv").write_text(LINES)
    (tmp_path / "rows.jsonl").write_bytes(parquet())
    (tmp_path / "rows.md").write_text(json.dumps(PAIRS))
    for name in ("rows.csv", "rows.jsonl", "rows.md"):
        assert found(tmp_path / name) == PAIRS


def test_the_mend_of_a_folder_of_folders_names_the_one_to_read(tmp_path):
    (tmp_path / "set" / "data").mkdir(parents=True)
    (tmp_path / "set" / "data" / "a.jsonl").write_text(LINES)
    with pytest.raises(HeedError, match="found data") as caught:
        data_files(tmp_path / "set")
    assert found(Path(caught.value.problems[0].mend.rpartition(": ")[2])) == PAIRS


@pytest.fixture
def datasets(tmp_path_factory, monkeypatch):
    """The library, with a cache of its own and no network."""
    library = pytest.importorskip("datasets")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    library.disable_progress_bars()
    hub.loaded.cache_clear()
    return library


@pytest.fixture
def built(tmp_path):
    """A dataset as it lies on the hub: a folder that the library builds splits from."""
    folder = tmp_path / "colours"
    folder.mkdir()
    (folder / "train.jsonl").write_text(LINES)
    (folder / "test.jsonl").write_text('{"prompt": "Red?", "completion": "No."}\n')
    return folder


def test_a_dataset_of_the_hub_is_loaded_and_read_row_by_row(datasets, built, tmp_path):
    name = f"hub:{built}"
    assert found(Path(name)) == PAIRS
    assert found(Path(f"{name},split=test")) == [{"prompt": "Red?", "completion": "No."}]
    report = prepare(
        [Source(Path(name))], tmp_path / "out", val=None, test=f"{name},split=test", seed=0, max_bad=0, workers=1
    )
    assert report.splits == {"train": 4, "test": 1}
    first = json.loads((tmp_path / "out" / "train.jsonl").open().readline())
    assert first["source"] == f"{name}:row 1"
    assert prepare(
        [Source(Path(name))], tmp_path / "out", val=None, test=f"{name},split=test", seed=0, max_bad=0
    ).reused


def test_rows_of_a_dataset_in_several_files_are_counted_through(datasets, built, monkeypatch, tmp_path):
    parts = []
    for number in range(2):
        datasets.Dataset.from_list(PAIRS[2 * number : 2 * number + 2]).save_to_disk(tmp_path / f"part{number}")
        parts += data_files(tmp_path / f"part{number}")
    monkeypatch.setattr(hub, "hub_files", lambda name: tuple(parts))
    assert [row.where for row in read_rows(Path("hub:a/b"))] == [f"hub:a/b:row {number}" for number in (1, 2, 3, 4)]
    assert found(Path("hub:a/b")) == PAIRS


def test_objects_with_fields_of_their_own_come_back_from_a_dataset_as_they_were(datasets, tmp_path):
    folder = tmp_path / "calls"
    folder.mkdir()
    rows = [
        {**PAIRS[0], "meta": {"a": 1, "b": {"c": "x"}}, "tags": ["u"]},
        {**PAIRS[1], "meta": {"b": {"d": [1, 2]}}, "tags": []},
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert found(Path(f"hub:{folder}")) == rows


@pytest.mark.parametrize(
    ("options", "says", "mend"),
    [
        (",split=nope", "no split 'nope'", "known: test, train"),
        (",split=tran", "no split 'tran'", "did you mean 'train'"),
        (",split=train[:10]", "name of one split", "split=train"),
        (",config=none", "'none' not found", "config="),
        (",name=x", "unknown option 'name'", "known: config, revision, split"),
        (",train", "not an option with a value", "split=train"),
        (",split=a,split=b", "given twice", "keep one"),
    ],
)
def test_options_of_a_dataset_that_do_not_fit_are_refused(datasets, built, options, says, mend):
    with pytest.raises(HeedError) as caught:
        data_files(Path(f"hub:{built}{options}"))
    assert says in caught.value.problems[0].what
    assert mend in caught.value.problems[0].mend


def test_the_mend_of_a_dataset_without_a_train_split_works(datasets, built):
    (built / "train.jsonl").unlink()
    with pytest.raises(HeedError, match="no split 'train'; it has test") as caught:
        data_files(Path(f"hub:{built}"))
    assert len(found(Path(caught.value.problems[0].mend.partition(": ")[2]))) == 1


def test_a_dataset_that_cannot_be_reached_is_refused_with_another_way(datasets):
    with pytest.raises(HeedError, match="cannot be reached") as caught:
        data_files(Path("hub:nobody/nothing"))
    assert "hf download --repo-type dataset nobody/nothing" in caught.value.problems[0].mend
    with pytest.raises(HeedError, match="no dataset is named"):
        data_files(Path("hub:"))


def test_a_name_of_the_hub_without_its_mark_is_told_how_it_is_written():
    with pytest.raises(HeedError, match="no such file") as caught:
        data_files(Path("nobody/nothing"))
    assert caught.value.problems[0].mend.endswith("a dataset of the hub is written hub:nobody/nothing")


def test_a_saved_dataset_is_read_in_its_own_order_and_not_its_descriptions(datasets, tmp_path):
    datasets.Dataset.from_list(PAIRS).save_to_disk(tmp_path / "saved", num_shards=2)
    assert found(tmp_path / "saved") == PAIRS
    assert run(tmp_path / "saved", tmp_path).kept == 4


def test_saved_splits_are_named_and_the_mend_works(datasets, tmp_path):
    one = datasets.Dataset.from_list(PAIRS)
    datasets.DatasetDict(train=one, test=one).save_to_disk(tmp_path / "saved")
    with pytest.raises(HeedError, match="several splits: test, train") as caught:
        data_files(tmp_path / "saved")
    assert found(Path(caught.value.problems[0].mend.partition(": ")[2])) == PAIRS


@pytest.mark.parametrize(
    ("library", "name", "data", "extra"),
    [
        ("pyarrow", "rows.parquet", parquet(), "heedlm[tables]"),
        ("pyarrow", "rows.jsonl.zst", pa.compress(LINES.encode(), codec="zstd", asbytes=True), "heedlm[tables]"),
        ("datasets", "hub:a/b", b"", "heedlm[hub]"),
    ],
)
def test_a_library_that_is_missing_is_named_with_what_to_install(tmp_path, monkeypatch, library, name, data, extra):
    monkeypatch.setitem(sys.modules, library, None)
    path = Path(name) if name.startswith("hub:") else tmp_path / name
    if data:
        path.write_bytes(data)
    hub.loaded.cache_clear()
    with pytest.raises(HeedError, match=library) as caught:
        run(path, tmp_path)
    assert f"pip install '{extra}'" in caught.value.problems[0].mend
    assert not (tmp_path / "out").exists()


def test_documents_are_files_or_parts_of_them_or_rows(tmp_path):
    (tmp_path / "one.md").write_bytes(b"\xef\xbb\xbf\n# Title\r\n\r\nA word.\r\n\n")
    assert list(read_documents(tmp_path / "one.md")) == ["# Title\n\nA word."]
    (tmp_path / "three.txt").write_text(
        "\nFirst\nstory.\n<|endoftext|>\n\n<|endoftext|>\nSecond.\n<|endoftext|>\n\nThird."
    )
    assert list(read_documents(tmp_path / "three.txt")) == ["First\nstory.", "Second.", "Third."]
    assert [row.where.rpartition(":")[2] for row in read_rows(tmp_path / "three.txt")] == ["2", "7", "10"]
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "two.parquet")
    assert list(read_documents(str(tmp_path / "two.parquet"))) == ["a", "b"]
    assert len(list(read_documents(tmp_path))) == 6


def test_rows_without_a_document_are_all_named(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "one"}\n\n{"words": "two"}\n{"text": 3}\n{"text"\n' + "{}\n" * 30)
    with pytest.raises(HeedError) as caught:
        list(read_documents(path))
    problems = caught.value.problems
    assert [problem.where for problem in problems[:3]] == [f"{path}:{line}" for line in (3, 4, 5)]
    assert "field 'text' is missing; found words" in problems[0].what
    assert "field 'text' is 3" in problems[1].what
    assert problems[-1].what == "and 13 more rows without a document"
    with pytest.raises(HeedError, match="no such file"):
        list(read_documents(tmp_path / "none.jsonl"))


def test_pretraining_reads_text_files(tmp_path):
    (tmp_path / "tales.txt").write_text("\n<|endoftext|>\n".join(f"Tale {i}." for i in range(8)))
    recipe = PretrainRecipe.model_validate(
        {"corpus": {"source": str(tmp_path / "tales.txt")}, "train": {"max_steps": 1}}
    )
    part = documents_of(recipe)
    assert part("val") == ["Tale 0.", "Tale 1.", "Tale 2.", "Tale 3."]
    assert part("tokenizer")[-1] == "Tale 7."

"""Files that people hand in by mistake, told by their first bytes, with the way to something that is read."""

from __future__ import annotations

from pathlib import Path

from heedlm.errors import HeedError

_UTF8 = "save it as UTF-8: iconv -f {} -t UTF-8 OLD > NEW"
_STRANGERS: tuple[tuple[bytes, str, str], ...] = (
    (b"\xff\xfe\x00\x00", "UTF-32 text", _UTF8.format("UTF-32")),
    (b"\x00\x00\xfe\xff", "UTF-32 text", _UTF8.format("UTF-32")),
    (b"\xff\xfe", "UTF-16 text", _UTF8.format("UTF-16")),
    (b"\xfe\xff", "UTF-16 text", _UTF8.format("UTF-16")),
    (b"PK\x03\x04", "a zip archive, or a document of an office program", "unpack it: unzip OLD; save a sheet as CSV"),
    (b"BZh", "a bzip2 archive", "unpack it: bunzip2 OLD"),
    (b"\xfd7zXZ", "an xz archive", "unpack it: unxz OLD"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it: 7z x OLD"),
    (
        b"SQLite format 3",
        "an SQLite database",
        'write a table as CSV: sqlite3 -header -csv OLD "select * from T" > NEW.csv',
    ),
    (b"%PDF-", "a PDF document", "write its text: pdftotext OLD NEW.txt"),
    (b"FEA1", "a Feather file of the first version", "write it again: pyarrow.feather.write_feather(table, NEW)"),
    (
        b"\x80\x04",
        "a Python pickle, which can run code when it is read",
        "write the rows with json.dumps, one per line",
    ),
    (
        b"\x80\x05",
        "a Python pickle, which can run code when it is read",
        "write the rows with json.dumps, one per line",
    ),
    (b"PAR1", "a Parquet file inside an archive", "unpack it: gunzip OLD (or unzstd OLD)"),
    (b"ARROW1", "an Arrow file inside an archive", "unpack it: gunzip OLD (or unzstd OLD)"),
    (b"\x1f\x8b", "an archive inside an archive", "unpack it once: gunzip OLD"),
    (b"\x28\xb5\x2f\xfd", "an archive inside an archive", "unpack it once: gunzip OLD"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the data itself", "fetch the data: git lfs pull"),
    (
        b"<!doctype html",
        "a web page",
        "download the file itself: on the hub, its address has 'resolve' in place of 'blob'",
    ),
    (b"<html", "a web page", "download the file itself: on the hub, its address has 'resolve' in place of 'blob'"),
)


def refuse_stranger(start: bytes, name: Path) -> None:
    """Raise HeedError if a file whose first line is `start` holds nothing that is read."""
    for magic, kind, mend in _STRANGERS:
        if start.lower().startswith(magic) if magic.startswith(b"<") else start.startswith(magic):
            raise HeedError(f"file is {kind}", str(name), mend)
    if start[257:262] == b"ustar":
        raise HeedError("file is a tar archive", str(name), "unpack it: tar -xf OLD, and name the files in it")
    for order, zeros in (("UTF-16LE", start[1:16:2]), ("UTF-16BE", start[0:16:2])):  # without a mark at the start
        if len(start) > 3 and zeros.strip(b"\x00") == b"" and start.strip(b"\x00"):
            raise HeedError("file is UTF-16 text", str(name), _UTF8.format(order))

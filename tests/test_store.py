"Files: what others wrote is read whole, or named by file, line and what is wrong."

import errno, json

import pytest

from benchmark_profiling.store import DiskFull, in_place_of, read_jsonl, room_for, write_file


@pytest.mark.parametrize(
    "inside", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\r"], ids=ascii
)
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=ascii)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte-order mark"])
def test_a_line_ends_at_its_end_only(inside, end, mark, tmp_path):
    rows = [{"q": f"one{inside}row", "a": n} for n in range(2)]
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps(r, ensure_ascii=False) for r in rows]
    path.write_bytes(mark + end.join([*lines, "", ""]).encode())
    assert read_jsonl(path) == read_jsonl(str(path)) == rows


def test_both_names_are_one_function():
    from benchmark_profiling import evaluation, tasks

    assert tasks.read_jsonl is evaluation.read_jsonl is read_jsonl


@pytest.mark.parametrize(
    "data, said",
    [
        ('{"q": "Café?"}'.encode("latin1"), "line 1: byte 0xe9 at 11 is not UTF-8; save the file as UTF-8"),
        (b'{"q": 1}\n' + '{"q": "Café?"}'.encode("latin1"), "line 2: byte 0xe9"),
        ('{"q": 1}\n'.encode("utf-16"), "line 1: holds zero bytes"),
        ('{"q": 1}\n'.encode("utf-32"), "line 1: holds zero bytes"),
        (b'{"q": 1}\n' + bytes(64), "line 2: holds zero bytes"),
        (b'{"q": 1}\n{"q', "line 2: not valid JSON"),
        (b'{\n  "q": 1\n}', "line 1: not valid JSON"),
        (b'[{"q": 1}]', "line 1: expected an object, got list; write one object a line"),
        (b'"q"', "line 1: expected an object, got str"),
        (b'{"q": 1, "a": 2}\n\n{"q": 1}', "line 3: lacks a, which the first line has"),
        (b'{"q": ' + b"9" * 5000 + b"}", "line 1: not readable as JSON"),
        (b'{"q": ' + b"[" * 200_000, "line 1: not readable as JSON"),
        (b'{"q": "\\ud83d"}', "line 1: holds half of a surrogate pair"),
        (b"", "no rows"),
        (b"\n \r\n", "no rows"),
        (b"\xef\xbb\xbf", "no rows"),
    ],
    ids=lambda v: v[:40] if isinstance(v, str) else "",
)
def test_what_is_wrong_is_named_by_file_and_line(data, said, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(data)
    with pytest.raises(ValueError) as e:
        read_jsonl(path)
    assert str(e.value).startswith(str(path)) and said in str(e.value) and "\n" not in str(e.value)


def test_a_whole_emoji_written_as_two_escapes_is_text(tmp_path):
    (tmp_path / "rows.jsonl").write_text('{"q": "\\ud83d\\ude00"}')
    assert read_jsonl(tmp_path / "rows.jsonl") == [{"q": "😀"}]


def test_a_file_is_the_old_one_or_the_new_one(tmp_path):
    "Whatever goes wrong while it is written; and no draft stays."
    path = tmp_path / "a" / "file.txt"
    write_file(path, "old")
    with pytest.raises(KeyError), in_place_of(path) as draft:
        draft.write_text("ne")
        raise KeyError
    assert path.read_text() == "old" and [p.name for p in path.parent.iterdir()] == ["file.txt"]
    with in_place_of(path) as draft:
        draft.write_text("new")
    assert path.read_text() == "new" and [p.name for p in path.parent.iterdir()] == ["file.txt"]


@pytest.mark.parametrize(
    "e",
    [
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EDQUOT, "quota"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
    ids=str,
)
def test_a_full_disk_is_said_for_the_file(e, tmp_path):
    with pytest.raises(DiskFull, match=r"no room for .*x.bin, which takes 2 kB: .* are free on that disk"):
        with room_for(tmp_path / "none" / "x.bin", 2000):
            raise e
    with pytest.raises(ValueError, match="other"), room_for(tmp_path / "x"):
        raise ValueError("other")

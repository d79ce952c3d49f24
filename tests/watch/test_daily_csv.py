"""The daily CSV is never half a line, has a line for each content, and loses nothing to a spreadsheet."""

import csv
import io
import json
import os
import random
import time
from pathlib import Path

import pytest
from contracts import make_prediction
from volumes import fill, kill, small_volume, start

from cxr_edge.results import Row, open_writer, to_row
from cxr_edge.results.writers import CSV_COLUMNS, csv_header
from cxr_edge.types import Source
from cxr_edge.watch.daily_csv import DailyCsv, Updated
from cxr_edge.watch.outbox import Outbox, remove_leftovers
from cxr_edge.watch.outbox_fault import OutboxFault, OutboxUnavailable

DAY, NEXT = "2026-03-01", "2026-03-02"


def _content(number: int) -> str:
    return f"{number:064x}"


def _row(number: int, path: str | None = None) -> Row:
    source = Source(path=path or f"{number}.dcm", sop_instance_uid="1.2.3", content_sha256=_content(number))
    return to_row(make_prediction(source=source))


def _fill(folder: Path, *numbers: int, day: str = DAY) -> list[tuple[str, str]]:
    for number in numbers:
        Outbox(folder).write_result(_row(number))
    return [(day, _content(number)) for number in numbers]


def _records(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.reader(stream, strict=True))


def _contents(path: Path) -> list[str]:
    header, *records = _records(path)
    assert tuple(header) == CSV_COLUMNS
    assert all(len(record) == len(CSV_COLUMNS) for record in records)
    return [record[CSV_COLUMNS.index("content_sha256")] for record in records]


@pytest.fixture
def daily(tmp_path: Path) -> DailyCsv:
    return DailyCsv(Outbox(tmp_path))


def test_it_is_what_classify_writes(tmp_path: Path, daily: DailyCsv) -> None:
    hostile = _row(3, '=cmd|"x",\r\n\'Müller 結果')
    Outbox(tmp_path).write_result(hostile)
    pending = [*_fill(tmp_path, 1, 2), (DAY, _content(3))]
    buffer = io.StringIO()
    writer = open_writer("csv", buffer.write)
    for row in (_row(1), _row(2), hostile):
        writer.write(row)
    assert daily.update(pending) == Updated(tuple(content for _, content in pending), (), held=False)
    assert (tmp_path / f"results-{DAY}.csv").read_bytes() == buffer.getvalue().encode()


def test_in_pieces_it_is_the_same_as_at_once(tmp_path: Path, daily: DailyCsv) -> None:
    pending = _fill(tmp_path, *range(10))
    for pair in pending:
        daily.update([pair])
    pieces = (tmp_path / f"results-{DAY}.csv").read_bytes()
    (tmp_path / f"results-{DAY}.csv").unlink()
    daily.update(pending)
    assert (tmp_path / f"results-{DAY}.csv").read_bytes() == pieces


def test_done_again_it_adds_nothing_and_touches_nothing(tmp_path: Path, daily: DailyCsv) -> None:
    pending = _fill(tmp_path, 1, 2)
    daily.update(pending)
    before = (tmp_path / f"results-{DAY}.csv").stat()
    assert daily.update([*pending, *pending]).written == (_content(1), _content(2))
    after = (tmp_path / f"results-{DAY}.csv").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    daily.update(pending + _fill(tmp_path, 3))
    assert _contents(tmp_path / f"results-{DAY}.csv") == [_content(1), _content(2), _content(3)]


def test_each_day_has_its_file(tmp_path: Path, daily: DailyCsv) -> None:
    daily.update(_fill(tmp_path, 1) + _fill(tmp_path, 2, day=NEXT))
    assert _contents(tmp_path / f"results-{DAY}.csv") == [_content(1)]
    assert _contents(tmp_path / f"results-{NEXT}.csv") == [_content(2)]
    with pytest.raises(ValueError, match="YYYY-MM-DD"):
        daily.update([("../x", _content(1))])


def test_a_result_file_that_is_gone_or_damaged_is_told(tmp_path: Path, daily: DailyCsv) -> None:
    pending = _fill(tmp_path, 1, 2, 3)
    (tmp_path / f"{_content(1)}.json").unlink()
    (tmp_path / f"{_content(2)}.json").write_bytes(b"{")
    assert daily.update(pending[:2]) == Updated((), (_content(1), _content(2)), held=False)
    assert not (tmp_path / f"results-{DAY}.csv").exists()
    assert daily.update(pending) == Updated((_content(3),), (_content(1), _content(2)), held=False)
    assert _contents(tmp_path / f"results-{DAY}.csv") == [_content(3)]


def test_a_path_that_names_another_content_hides_it_not(tmp_path: Path, daily: DailyCsv) -> None:
    Outbox(tmp_path).write_result(_row(1, f'x",{_content(2)},"\r\n{_content(2)},'))
    daily.update([(DAY, _content(1))])
    daily.update(_fill(tmp_path, 2))
    assert _contents(tmp_path / f"results-{DAY}.csv") == [_content(1), _content(2)]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data.replace(b",", b";"),
        lambda data: data[: data.index(b"\r\n") + 100],
        lambda data: data[:50],
        lambda _: b"",
        lambda data: data + b'"open',
        lambda data: data + b"," * (len(CSV_COLUMNS) - 1) + b'"open',
        lambda data: data + b"\xff" * len(CSV_COLUMNS),
        lambda data: data.decode().encode("utf-16"),
    ],
    ids=[
        "semicolons",
        "half a line",
        "half a header",
        "empty",
        "open quote",
        "open quote at the end",
        "no UTF-8",
        "UTF-16",
    ],
)
def test_a_file_that_is_not_ours_any_more_stays_as_it_is(tmp_path: Path, daily: DailyCsv, spoil: object) -> None:
    assert callable(spoil)
    daily.update(_fill(tmp_path, 1))
    first, second = tmp_path / f"results-{DAY}.csv", tmp_path / f"results-{DAY}-2.csv"
    spoiled = spoil(first.read_bytes())
    first.write_bytes(spoiled)
    daily.update(_fill(tmp_path, 2))
    daily.update(_fill(tmp_path, 3))
    assert first.read_bytes() == spoiled
    assert _contents(second) == [_content(2), _content(3)]


def test_a_day_that_an_earlier_release_began_goes_on_in_another_file(tmp_path: Path, daily: DailyCsv) -> None:
    daily.update(_fill(tmp_path, 1))
    first, second = tmp_path / f"results-{DAY}.csv", tmp_path / f"results-{DAY}-2.csv"
    before = "".join(",".join(record[:-1]) + "\r\n" for record in _records(first))  # without the newest column
    first.write_text(before, encoding="utf-8", newline="")
    everything = _fill(tmp_path, 1, 2, 3)  # as a ledger that was made again offers it
    assert daily.update(everything) == Updated((_content(1), _content(2), _content(3)), (), held=False)
    assert first.read_text(encoding="utf-8") == before.replace("\r\n", "\n")
    assert _contents(second) == [_content(2), _content(3)]
    assert [record[CSV_COLUMNS.index("label_index")] for record in _records(second)[1:]] == ["1", "1"]


def test_saved_by_a_spreadsheet_without_damage_it_goes_on(tmp_path: Path, daily: DailyCsv) -> None:
    path = tmp_path / f"results-{DAY}.csv"
    daily.update(_fill(tmp_path, 1))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().removesuffix(b"\r\n"))  # byte-order mark, no last line's end
    daily.update(_fill(tmp_path, 1, 2))
    assert path.read_bytes().startswith(b"\xef\xbb\xbfkind,")
    path.write_bytes(path.read_bytes()[3:])
    assert _contents(path) == [_content(1), _content(2)]


def test_held_open_by_a_spreadsheet_it_is_late_and_loses_nothing(
    tmp_path: Path, daily: DailyCsv, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = _fill(tmp_path, 1, 2)
    daily.update(pending[:1])
    before = (tmp_path / f"results-{DAY}.csv").read_bytes()

    def refuse(*_: object) -> None:  # what Windows says while Excel has the file open
        raise PermissionError(13, "The process cannot access the file")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        other_day = (NEXT, _content(1))
        assert daily.update([pending[1], other_day]) == Updated((), (), held=True)
    assert (tmp_path / f"results-{DAY}.csv").read_bytes() == before
    assert not list(tmp_path.glob(".*"))
    assert daily.update(pending).written == (_content(1), _content(2))
    assert _contents(tmp_path / f"results-{DAY}.csv") == [_content(1), _content(2)]


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_a_fault(tmp_path: Path, daily: DailyCsv, kind: str) -> None:
    path = tmp_path / f"results-{DAY}.csv"
    if kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("no pipes here")
        os.mkfifo(path)
    else:
        path.mkdir()
    with pytest.raises(OutboxUnavailable, match="no file") as caught:
        daily.update(_fill(tmp_path, 1))
    assert caught.value.kind is OutboxFault.OTHER


def test_full_disk_leaves_the_last_whole_file(tmp_path: Path) -> None:
    with small_volume(tmp_path / "out") as folder:
        daily, path = DailyCsv(Outbox(folder)), folder / f"results-{DAY}.csv"
        pending = _fill(folder, 1, 2)
        daily.update(pending[:1])
        before = path.read_bytes()
        filler = fill(folder)
        with pytest.raises(OutboxUnavailable) as caught:
            daily.update(pending)
        assert caught.value.kind is OutboxFault.FULL
        assert path.read_bytes() == before
        assert not list(folder.glob(".*"))
        filler.unlink()
        daily.update(pending)
        assert _contents(path) == [_content(1), _content(2)]


def test_it_rests_twenty_times_as_long_as_it_worked(tmp_path: Path) -> None:
    now = 100.0

    def clock() -> float:
        return now

    class Slow(Outbox):
        def read_row(self, content: str) -> Row | None:
            nonlocal now
            now += 1.0
            return Outbox.read_row(self, content)

    _fill(tmp_path, 1, 2)
    daily = DailyCsv(Outbox(tmp_path), clock=clock)
    assert daily.due()
    daily.update([(DAY, _content(1))])
    assert not daily.due()
    now += 4.9
    assert not daily.due()
    now += 0.2
    assert daily.due()
    daily = DailyCsv(Slow(tmp_path), clock=clock)
    daily.update([(DAY, _content(2))])  # takes 1 s
    now += 19.9
    assert not daily.due()
    now += 0.2
    assert daily.due()


def test_nothing_is_missing_because_the_folder_is_away(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    pending = _fill(folder, 1)
    daily = DailyCsv(Outbox(folder))
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(OutboxUnavailable) as caught:
        daily.update(pending)
    assert caught.value.kind is OutboxFault.AWAY
    assert not daily.due()  # a failed update rests too


def test_nothing_is_missing_because_the_folder_goes_away_meanwhile(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()

    class Leaving(Outbox):
        def read_row(self, content: str) -> Row | None:
            self.folder.rename(tmp_path / "elsewhere")
            return Outbox.read_row(self, content)

    pending = _fill(folder, 1)
    with pytest.raises(OutboxUnavailable):
        DailyCsv(Leaving(folder)).update(pending)


UPDATER = """
import sys
from pathlib import Path
from cxr_edge.watch.daily_csv import DailyCsv
from cxr_edge.watch.outbox import Outbox
daily = DailyCsv(Outbox(Path(sys.argv[1])))
print("ready", flush=True)
for number in range(int(sys.argv[2])):
    daily.update([("2026-03-01", f"{max(0, number - 1):064x}"), ("2026-03-01", f"{number:064x}")])
print("done", flush=True)
"""


def test_killed_at_any_moment_no_reader_ever_sees_half_a_line(tmp_path: Path) -> None:
    rows, looks, randomness, path = 400, 0, random.Random(7), tmp_path / f"results-{DAY}.csv"  # noqa: S311
    _fill(tmp_path, *range(rows))
    before = 0
    for _ in range(12):
        child = start(UPDATER, tmp_path, rows)
        end = time.monotonic() + randomness.uniform(0.02, 0.25)
        while time.monotonic() < end:
            if path.exists():
                data = path.read_bytes()
                assert data.endswith(b"\r\n")
                seen = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
                assert all(len(record) == len(CSV_COLUMNS) for record in seen)
                assert len(seen) >= before
                before, looks = len(seen), looks + 1
        kill(child)
        remove_leftovers(tmp_path)
    assert looks > 12
    child = start(UPDATER, tmp_path, rows)
    child.communicate()
    assert _contents(path) == [_content(number) for number in range(rows)]
    assert len(list(tmp_path.iterdir())) == rows + 1


def test_the_header_alone_is_ours(tmp_path: Path, daily: DailyCsv) -> None:
    (tmp_path / f"results-{DAY}.csv").write_text(csv_header(), encoding="utf-8", newline="")
    daily.update(_fill(tmp_path, 1))
    assert _contents(tmp_path / f"results-{DAY}.csv") == [_content(1)]
    assert json.loads((tmp_path / f"{_content(1)}.json").read_bytes())["source"]["path"] == "1.dcm"

"""Settings from a file and the command line; every mistake is one line that says where it is."""

import dataclasses
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_edge.errors import UsageError
from cxr_edge.watch.config import MAX_BYTES, TABLES, _Keys, make_settings, read_config
from cxr_edge.watch.settings import Settings, state_folder_of

WHOLE = """\
# a comment
inbox = "in"
results = '/srv/out'
state = "state"
poll_interval_s = 10
settle_s = 0.5
incomplete_after_s = 600
study_timeout_s = 60
order = "newest"
nice = false
heatmap = true
heatmap_label = "VIRAL"
identifiers = false
gate = "warn"
model = "resnet50-binary"
operating_point = "overlays/site.json"
provider = "cpu"
threads = 2

[after]
done = "done"
rejected = "rejected"

[log]
file = "watch.log"
max_mb = 5
keep = 3
"""


def _file(folder: Path, text: str) -> Path:
    file = folder / "watch.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_every_key_reaches_the_settings(tmp_path: Path) -> None:
    assert make_settings(_file(tmp_path, WHOLE), {}) == Settings(
        inbox=tmp_path / "in",
        results=Path("/srv/out") if (tmp_path / "/srv/out") == Path("/srv/out") else tmp_path / "/srv/out",
        state=tmp_path / "state",
        poll_interval_s=10.0,
        settle_s=0.5,
        incomplete_after_s=600.0,
        study_timeout_s=60.0,
        order="newest",
        nice=False,
        heatmap=True,
        heatmap_label="VIRAL",
        identifiers=False,
        gate="warn",
        model="resnet50-binary",
        operating_point=str(tmp_path / "overlays/site.json"),
        provider="cpu",
        threads=2,
        after_done=tmp_path / "done",
        after_rejected=tmp_path / "rejected",
        log_file=tmp_path / "watch.log",
        log_max_mb=5,
        log_keep=3,
    )


def test_keys_and_settings_name_the_same() -> None:
    named = {*_Keys.__struct_fields__} | {f"{t}_{key}" for t, keys in TABLES.items() for key in keys.__struct_fields__}
    assert named == {field.name for field in dataclasses.fields(Settings)} - {"once"}


def test_the_command_line_wins(tmp_path: Path) -> None:
    given = {"inbox": None, "results": Path("elsewhere"), "nice": True, "poll_interval_s": None}
    settings = make_settings(_file(tmp_path, WHOLE), given)
    assert (settings.inbox, settings.results) == (tmp_path / "in", Path("elsewhere"))
    assert (settings.nice, settings.poll_interval_s) == (True, 10.0)


def test_without_a_file(tmp_path: Path) -> None:
    settings = make_settings(None, {"inbox": tmp_path / "in", "results": tmp_path / "out", "threads": None})
    assert settings == Settings(inbox=tmp_path / "in", results=tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ('inbox = "a"\n\nresult = "b"\n', 3, ("result is unknown", "did you mean results?")),
        ('inbox = "a"\nzzz = 1\n', 2, ("zzz is unknown", "known are after, gate,")),
        ("poll_interval_s = 0\n", 1, ("poll_interval_s is 0", "need a number from 0.1 to 60")),
        ("# one\n# two\npoll_interval_s = 61\n", 3, ("is 61", "need a number from 0.1 to 60")),
        ('poll_interval_s = "5"\n', 1, ("is '5'", "need a number from 0.1 to 60")),
        ("threads = 2.5\n", 1, ("threads is 2.5", "need a whole number from 1 to 256")),
        ("threads = true\n", 1, ("threads is true", "need a whole number from 1 to 256")),
        ("nice = 1\n", 1, ("nice is 1", "need true or false")),
        ('order = "random"\n', 1, ("order is 'random'", "need one of oldest, newest")),
        ('inbox = ""\n', 1, ("inbox is ''", "need a text of 1 to 4,096 characters")),
        ("settle_s = nan\n", 1, ("settle_s is nan", "need a number from 0 to 3,600")),
        ("incomplete_after_s = inf\n", 1, ("incomplete_after_s is inf", "need a number from 1 to 604,800")),
        ('[after]\ndone = "a"\nfailed = "b"\n', 3, ("after.failed is unknown", "known are done, rejected")),
        ("nice = true\n\n[log]\n# how\nkeep = -1\n", 5, ("log.keep is -1", "need a whole number from 0 to 1,000")),
        ("nice = true\nafter = 3\n", 2, ("after is 3", "need a table: [after]")),
        ("\n\n[logs]\nkeep = 1\n", 3, ("logs is unknown", "did you mean log?")),
        ('log.keep = 3\nlog.size = "x"\n', 2, ("log.size is unknown",)),
        ('"thr\\u0065ads" = 0\n', 1, ("threads is 0",)),
        ('model = """\nthreads = 0\n"""\nthreads = 0\n', 4, ("threads is 0",)),
        ('inbox = "a"\nthreads = [\n  1,\n  2,\n]\n', 2, ("threads is [1, 2]", "need a whole number from 1 to 256")),
        ('inbox = "a"\r\nthreads = 0\r\n', 2, ("threads is 0",)),
        ('inbox = "a\\u0000b"\n', 1, ("inbox is 'a\\x00b'", "none of them a control character")),
        ('"a\\nb\\u001b" = 1\n', 1, ("'a\\nb\\x1b' is unknown",)),
        ("threads = 123456789012345678901234567890\n", 1, ("threads is 1234", "need a whole number from 1 to 256")),
        ("nice = 1979-05-27T07:32:00Z\n", 1, ("nice is 1979-05-27", "need true or false")),
        ("inbox.deep = 1\n", 1, ("inbox is {'deep': 1}", "need a text")),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, line: int, parts: tuple[str, ...]) -> None:
    file = tmp_path / "watch.toml"
    file.write_bytes(text.encode())
    with pytest.raises(UsageError) as caught:
        read_config(file)
    message = str(caught.value)
    assert message.startswith(f"{file}, line {line}: "), message
    assert "\n" not in message
    for part in parts:
        assert part in message


VALUES = [
    "0",
    "-1",
    "1e400",
    "nan",
    "true",
    '""',
    '"a\\u0000"',
    "[]",
    "[[1]]",
    "{a = 1}",
    "1979-05-27",
    "9" * 40,
    '"cpu"',
]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*_Keys.__struct_fields__, "after", "log", "log.keep", "after.x", "x"]),
            st.sampled_from(VALUES),
        ),
        max_size=4,
    ),
    st.binary(max_size=20),
)
def test_anything_is_read_or_refused_in_one_line(items: list[tuple[str, str]], tail: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "watch.toml"
        file.write_bytes("".join(f"{key} = {value}\n" for key, value in items).encode() + tail)
        try:
            make_settings(file, {"results": Path("out")})
        except UsageError as error:
            assert str(error).isprintable()  # noqa: PT017 - most are refused, some are not


def test_no_toml(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"watch\.toml is not TOML: .*line 2"):
        read_config(_file(tmp_path, 'inbox = "a"\nresults = oops\n'))
    with pytest.raises(UsageError, match="line 2: not UTF-8"):
        file = tmp_path / "latin.toml"
        file.write_bytes(b'nice = true\ninbox = "Eing\xe4nge"\n')
        read_config(file)
    with pytest.raises(UsageError, match=r"nested too deep|not TOML"):
        read_config(_file(tmp_path, "a = " + "[" * 10_000))
    with pytest.raises(UsageError, match="more than"):
        read_config(_file(tmp_path, "#" * (MAX_BYTES + 1)))
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "absent.toml")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "watch.toml"
    file.write_bytes(b"\xef\xbb\xbfnice = false\r\n")
    assert read_config(file) == {"nice": False}


def test_inbox_and_results_are_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no results was named; need --results"):
        make_settings(None, {"inbox": tmp_path})
    with pytest.raises(UsageError, match="no inbox was named; need INBOX, or 'inbox' in"):
        make_settings(_file(tmp_path, 'results = "out"\n'), {})


@pytest.mark.parametrize("name", ["results", "state", "after_done", "after_rejected"])
def test_the_inbox_takes_no_other_part(tmp_path: Path, name: str) -> None:
    option = f"--{name}".replace("_", " ")
    folders = {"inbox": tmp_path / "in", "results": tmp_path / "out", name: tmp_path / "x" / ".." / "in"}
    with pytest.raises(UsageError, match=f"^{option} is the inbox itself"):
        make_settings(None, folders)
    inside = {**folders, name: tmp_path / "in" / "deep"}
    assert make_settings(None, inside).inbox == tmp_path / "in"


def test_a_log_in_the_inbox_would_feed_itself(tmp_path: Path) -> None:
    folders = {"inbox": tmp_path / "in", "results": tmp_path / "in" / "out", "after_done": tmp_path / "in" / "done"}
    for place in ("in", "in/deep", "x/../in"):
        with pytest.raises(UsageError, match="--log lies in the inbox"):
            make_settings(None, {**folders, "log_file": tmp_path / place / "watch.log"})
    for place in (".", "inner", "in/out", "in/done/deep"):
        assert make_settings(None, {**folders, "log_file": tmp_path / place / "watch.log"}).log_keep == 10


def test_the_results_folder_is_no_state_folder(tmp_path: Path) -> None:
    folders = {"inbox": tmp_path / "in", "results": tmp_path / "out", "state": tmp_path / "x" / ".." / "out"}
    with pytest.raises(UsageError, match="--state is the results folder itself"):
        make_settings(None, folders)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["poll_interval_s", "settle_s", "incomplete_after_s", "study_timeout_s"])
def test_times_are_finite(tmp_path: Path, name: str, seconds: float) -> None:
    option = f"--{name.removesuffix('_s')}".replace("_", "-")
    with pytest.raises(UsageError, match=f"^{option} is -?(nan|inf); need a number of seconds"):
        make_settings(None, {"inbox": tmp_path / "in", "results": tmp_path / "out", name: seconds})


def test_the_state_folder_belongs_to_one_inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_EDGE_STATE", str(tmp_path / "state"))
    one = state_folder_of(tmp_path / "in")
    assert one.parent == tmp_path / "state" / "watch"
    assert len(one.name) == 16
    assert state_folder_of(tmp_path / "other") != one
    assert state_folder_of(tmp_path / "other" / ".." / "in") == one
    assert state_folder_of(tmp_path / "in", tmp_path / "named") == tmp_path / "named"
    assert Settings(inbox=tmp_path / "in", results=tmp_path / "out").state_folder == one


def test_a_system_without_a_place_for_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.watch.settings.state_folder", lambda: None)
    with pytest.raises(UsageError, match="--state or CXR_EDGE_STATE"):
        state_folder_of(tmp_path)

"""Patient data leave the images in no way: files with marked names, texts and UIDs, whatever becomes of them."""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dicom_files import to_bytes
from marked import CRASHES, CYRILLIC, IN_PATHS, TEXT, UIDS, hostile, marked, marked_picture
from watching import Row, Watcher, rows, until

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")


def _fill(inbox: Path) -> tuple[set[str], str]:
    """Everything that an inbox may hold; gives the contents that get a result, and the one that cannot be read."""
    files = {f"{IN_PATHS} good {n}.dcm": to_bytes(marked(n)) for n in (1, 2)}
    files[f"{IN_PATHS} copy.dcm"] = files[f"{IN_PATHS} good 1.dcm"]
    files[f"{IN_PATHS} conflict.dcm"] = to_bytes(marked(3, instance=1))
    files[f"{IN_PATHS} cut.dcm"] = to_bytes(marked(4))[:-500]
    files[f"{IN_PATHS}.png"], files[f"{IN_PATHS}.jpg"] = marked_picture("PNG", 1), marked_picture("JPEG", 2)
    files |= {f"{IN_PATHS} {name}.dcm": content for name, content in hostile()}
    for name, content in files.items():
        path = inbox / f"{IN_PATHS} ward {len(name) % 3}" / f"{IN_PATHS}^{CYRILLIC}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    locked = inbox / f"{IN_PATHS} locked.dcm"
    locked.write_bytes(to_bytes(marked(5)))
    locked.chmod(0)
    (inbox / f"{IN_PATHS} in a circle.dcm").symlink_to(f"{IN_PATHS} in a circle.dcm")
    return {hashlib.sha256(content).hexdigest() for content in files.values()}, locked.name


def _forms(mark: str) -> Iterator[bytes]:
    """What a mark could look like in a file: cases, encodings and escapes."""
    for text in (mark, mark.lower(), mark.upper()):
        for encoding in ("utf-8", "utf-16-le", "utf-16-be", "iso8859-5", "cp1251"):
            yield text.encode(encoding)
        yield json.dumps(text)[1:-1].encode()
        yield ascii(text)[1:-1].encode()
        yield ascii(text.encode())[2:-1].encode()


def _assert_free(content: bytes, what: str, *marks: str) -> None:
    lower = content.lower()
    for mark in marks:
        found = [form for form in _forms(mark) if form in content or form in lower]
        assert not found, f"{mark} stands in {what}: {_around(content, mark)!r}"


def _around(content: bytes, mark: str) -> bytes:
    at = max(content.lower().find(mark.lower().encode()), 0)
    return content[max(0, at - 200) : at + 200]


def _assert_no_plain_hash(content: bytes, what: str, texts: list[str]) -> None:
    for text in texts:
        for name in ("md5", "sha1", "sha256"):
            digest = hashlib.new(name, text.encode()).digest()
            for form in (digest[:16], digest.hex()[:32].encode(), base64.b64encode(digest)[:20]):
                assert form not in content, f"{name} of {text} stands in {what}"


def _everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def _prefix(trace: Path) -> list[str]:
    """Without root's right to read everything, and with every name of a file noted, where that can be had."""
    prefix = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root reads every file; setpriv could take that right away")
        prefix += ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if shutil.which("strace") is not None:
        strace = ["strace", "-f", "-qq", "-s", "4096", "-e", "trace=%file,ftruncate", "-o", str(trace)]
        if subprocess.run([*strace, "true"], capture_output=True, check=False).returncode == 0:
            prefix += strace
    return prefix


CREATES = re.compile(r"O_CREAT|O_TMPFILE|\b(rename|renameat|renameat2|mkdir|mkdirat|link|linkat|symlink|symlinkat)\(")

CRASHING_DECODER = f"""
from cxr_edge.isolation import command
crash = '''
import main; import cxr_edge.isolation.worker as worker, os
_receive = worker.receive_bytes
def crash(stream, size):
    content = _receive(stream, size)
    if b"{CRASHES}" in bytes(content): os.abort()
    return content
worker.receive_bytes = crash
main('''
command._BOOTSTRAP = command._BOOTSTRAP.replace("import main; main(", crash.strip("\\n"))
from cxr_edge.cli import main
import sys
sys.argv[0] = "cxr-edge"
main()
"""


@pytest.mark.parametrize("identifiers", [True, False], ids=["identifiers", "no-identifiers"])
def test_no_mark_leaves_the_images(tmp_path: Path, tiny: Path, *, identifiers: bool) -> None:
    inbox, outbox, temporary, trace = (tmp_path / name for name in ("in", "out", "temporary", "trace"))
    inbox.mkdir()
    temporary.mkdir()
    contents, locked = _fill(inbox)
    options = ["--incomplete-after", "3", "--heatmap", *([] if identifiers else ["--no-identifiers"])]
    with Watcher(
        tiny,
        inbox,
        outbox,
        *options,
        script=CRASHING_DECODER,
        prefix=["env", f"TMPDIR={temporary}", f"CXR_EDGE_STATE={tmp_path / 'state of the package'}", *_prefix(trace)],
        log_to_file=identifiers,
    ) as watcher:
        watcher.has(*contents)
        until(lambda: watcher.health()["counts"]["retried"] >= 2)
        until(lambda: list(outbox.glob("study-*.json")))
        until(lambda: any(outbox.glob("results-*.csv")))
        status = subprocess.run(
            [sys.executable, "-m", "cxr_edge", "watch", "--status", "--json", "--state", watcher.state],
            capture_output=True,
            check=False,
        )
        live = {f"live {name}": content for name, content in _everything(watcher.state)}
        code, out, err = _stopped(watcher)
    assert code == 0
    assert "live ledger.sqlite-wal" in live
    _was_worth_it(outbox, watcher.health(), contents, log=watcher.log.read_text("ascii") if identifiers else err)
    known = [str(path.relative_to(inbox)) for path in inbox.rglob("*")] + [str(path) for path in inbox.rglob("*")]
    known += [f"{UIDS}.1.{n}" for n in (1, 2, 3)] + [f"{UIDS}.2", locked]
    told = {"stdout": out.encode(), "stderr": err.encode(), "status": status.stdout + status.stderr}
    kept = dict(_everything(tmp_path))
    hidden = {name: content for name, content in kept.items() if not name.startswith(("in/", "out/", "trace"))}
    assert {"state-in/ledger.sqlite", "state-in/health.json", "state-in/salt"} <= set(hidden)
    for name, content in (told | hidden | live).items():
        _assert_free(content, name, TEXT, CYRILLIC, IN_PATHS, UIDS)
        _assert_no_plain_hash(content, name, known)
    for name in kept:
        if not name.startswith("in/"):
            _assert_free(name.encode(), f"the name {name}", TEXT, CYRILLIC, IN_PATHS, UIDS)
    for name, content in kept.items():
        if name.startswith("out/"):
            _assert_free(content, name, TEXT, *(() if identifiers else (IN_PATHS, CYRILLIC, UIDS)))
    _assert_names(trace)


def _stopped(watcher: Watcher) -> tuple[int, str, str]:
    """Signals go to the watcher, not to strace around it."""
    os.kill(watcher.health()["pid"], signal.SIGTERM)
    return watcher.ended()


def _was_worth_it(outbox: Path, health: Row, contents: set[str], *, log: str) -> None:
    """All that was to happen did happen: else nothing was tried."""
    found = rows(outbox)
    assert set(found) == contents
    reasons = {row["reason"]["code"] for row in found.values() if row["status"] == "rejected"}
    assert {"truncated", "decoder_crashed", "gate_species", "gate_view", "malformed", "unknown_format"} <= reasons
    assert sum(row["status"] == "classified" for row in found.values()) >= 5
    counts = health["counts"]
    assert min(counts["duplicates"], counts["conflicts"], counts["incomplete"]) >= 1
    for event in ("classified", "rejected", "duplicate", "conflict", "incomplete", "retry", "study_summarised"):
        assert f'"event": "{event}"' in log


def _assert_names(trace: Path) -> None:
    """No file, not even one that is gone again, had a marked name."""
    if not trace.exists():
        return  # no strace here
    made = [line for line in trace.read_text("utf-8", "replace").splitlines() if CREATES.search(line)]
    assert any(".part" in line for line in made)
    for line in made:
        _assert_free(line.encode(), "the name of a file that was made", TEXT, CYRILLIC, IN_PATHS, UIDS)


FAILING = """
import sys
from cxr_edge.watch import {module}
def fails(*arguments, **options):
    try:
        raise OSError(2, "{text} {uid}", "{path}/x.dcm")
    except OSError as error:
        raise {error}("{text} of {path} and {uid}") from error
{module}.{target} = fails
from cxr_edge.cli import main
sys.argv[0] = "cxr-edge"
main()
"""


@pytest.mark.parametrize(
    ("module", "target", "error"),
    [
        ("work", "to_row", "ValueError"),
        ("work", "read", "KeyError"),
        ("delivery", "Outbox.write_result", "RuntimeError"),
        ("service", "scan", "KeyError"),
    ],
)
def test_a_crash_says_nothing_of_the_patient(tmp_path: Path, tiny: Path, module: str, target: str, error: str) -> None:
    """In each thread of the service; the exception's text, its cause and its frames' variables hold marks."""
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    folder = inbox / IN_PATHS
    folder.mkdir(parents=True)
    (folder / f"{IN_PATHS}.dcm").write_bytes(to_bytes(marked(1)))
    script = FAILING.format(module=module, target=target, text=TEXT, uid=UIDS, path=folder, error=error)
    with Watcher(tiny, inbox, outbox, script=script, log_to_file=module == "work") as watcher:
        code, out, err = watcher.ended()
    assert code == 1
    assert f"the service failed: {error}" in err
    assert "cxr_edge.watch." in err
    assert "Traceback" not in err
    assert watcher.health()["reason"] == "crashed"
    for name, content in {"stdout": out.encode(), "stderr": err.encode(), **_hidden(tmp_path)}.items():
        _assert_free(content, name, TEXT, IN_PATHS, UIDS)
        _assert_free(name.encode(), "a name", TEXT, IN_PATHS, UIDS)


def _hidden(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in _everything(folder) if not name.startswith("in/")}


def test_the_marks_can_be_found() -> None:
    """The search itself: every form of a mark that could leave is one that it finds."""
    for form in (
        TEXT.lower().encode(),
        f"x{TEXT}x".encode("utf-16-le"),
        json.dumps(CYRILLIC).encode(),
        CYRILLIC.encode(),
        CYRILLIC.lower().encode("iso8859-5"),
    ):
        with pytest.raises(AssertionError, match="stands in"):
            _assert_free(b"\0\1" + form + b"\2", "it", TEXT, CYRILLIC)
    with pytest.raises(AssertionError, match="sha256"):
        _assert_no_plain_hash(hashlib.sha256(b"a.dcm").digest()[:16], "it", ["a.dcm"])
    assert to_bytes(marked(1)).count(TEXT.encode()) > 1500

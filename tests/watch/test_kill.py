"""The service is killed while files arrive: short runs of `benchmarks/watch_kill.py`, which would find faults."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from watch_checks import Verdict
from watch_kill import Ended, run
from watch_witness import RESULT, Witness
from watched import QUICK, Scene, processes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
OPTIONS = (*QUICK, "--incomplete-after", "4", "--study-timeout", "1")
NO_DATA = Path("none")


def killed(scene: Scene, seed: int) -> Ended:
    mark = f"test-{os.urandom(6).hex()}"
    ended = run(scene, files=30, kills=3, seed=seed, data=NO_DATA, mark=mark)
    assert processes(mark) == {}
    return ended


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Ended]:
    """Inputs stay where they are."""
    scene = Scene(tmp_path_factory.mktemp("kill") / "scene", OPTIONS)
    return scene, killed(scene, 3)


def check(ended: Ended) -> None:
    assert ended.problems == []
    said = ended.said
    assert said["kills"] == 3
    assert said["contents"] == said["classified"] + said["rejected"] > 20
    assert min(said["classified"], said["rejected"]) > 0


def test_nothing_is_lost_or_repeated(left: tuple[Scene, Ended]) -> None:
    check(left[1])


def test_nothing_is_lost_or_repeated_where_inputs_are_moved(tmp_path: Path) -> None:
    check(killed(Scene(tmp_path / "scene", OPTIONS, tmp_path / "done", tmp_path / "rejected"), 4))


def _first(scene: Scene, status: str) -> Path:
    results = (path for path in sorted(scene.outbox.iterdir()) if RESULT.fullmatch(path.name))
    return next(path for path in results if json.loads(path.read_bytes())["status"] == status)


def _lose_a_result(scene: Scene) -> None:
    _first(scene, "classified").unlink()


def _change_a_score(scene: Scene) -> None:
    path = _first(scene, "classified")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "score": 0.123}), encoding="utf-8")


def _add_a_result(scene: Scene) -> None:
    row = _first(scene, "rejected").read_text(encoding="utf-8")
    content = json.loads(row)["source"]["content_sha256"]
    (scene.outbox / f"{'0' * 64}.json").write_text(row.replace(content, "0" * 64), encoding="utf-8")


def _repeat_a_line(scene: Scene) -> None:
    path = next(scene.outbox.glob("results-*.csv"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, lines[-1]]))


def _cut_a_line(scene: Scene) -> None:
    path = next(scene.outbox.glob("results-*.csv"))
    path.write_bytes(path.read_bytes()[:-20])


def _leave_a_part(scene: Scene) -> None:
    (scene.state / f".cxr-edge-{'0' * 16}.part").touch()


def _change_an_input(scene: Scene) -> None:
    with next(scene.inbox.rglob("*.jpeg")).open("ab") as stream:
        stream.write(b"\0")


def _remove_an_input(scene: Scene) -> None:
    next(scene.inbox.rglob("0*.dcm")).unlink()


FAULTS: dict[Callable[[Scene], None], str] = {
    _lose_a_result: "lost: ",
    _change_a_score: "differs from what classify says in score",
    _add_a_result: "no such file ever arrived whole",
    _repeat_a_line: "has 2 CSV lines",
    _cut_a_line: "ends within a line",
    _leave_a_part: "state holds .cxr-edge-",
    _change_an_input: "was changed",
    _remove_an_input: "gone from the inbox",
}
SEEN_AT_ONCE = (_lose_a_result, _change_a_score, _repeat_a_line, _cut_a_line)  # after the very kill


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.strip("_"))
def test_faults_would_be_found(left: tuple[Scene, Ended], tmp_path: Path, fault: Callable[[Scene], None]) -> None:
    scene, ended = left
    shutil.copytree(scene.root, tmp_path / "before")
    try:
        witness = Witness(scene)
        witness.look("before")
        fault(scene)
        witness.look("after")
        problems = Verdict(scene, ended.feeder, ended.expected).problems()
        assert any(FAULTS[fault] in problem for problem in problems)
        assert bool(witness.problems) == (fault in SEEN_AT_ONCE)
    finally:
        shutil.rmtree(scene.root)
        shutil.copytree(tmp_path / "before", scene.root)

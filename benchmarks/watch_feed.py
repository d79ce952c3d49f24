"""How files arrive in `watch_kill.py`: copied slowly, renamed, twice, anew under an old name, into several folders.

One thread carries all deliveries on, each a generator that yields the seconds it pauses for, and goes on whether the
service lives or not.
"""

import heapq
import itertools
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from watch_content import Content, Contents, Kind

FOLDERS: Final = ("", "CR1", "CR1/ward 3", "DX2", "DX2/20260101/früh", "emergency/a/b/c/d")
TEMPORARY: Final = ("{}.part", "{}.tmp", ".{}.Xq3f", "~${}", "{}.filepart")
OWN: Final = ".cxr-edge-"  # begins the names of the service's own files in the inbox
LEFT_ALONE: Final = ("Thumbs.db", "~$list.docx", "upload.part", ".hidden.jpeg", "copy.tmp")
DUPLICATES: Final = 0.1
LATEST_S: Final = 600.0  # that a delivery waits for a result
Steps = Iterator[float]


@dataclass(frozen=True, slots=True)
class Delivered:
    """A file that has arrived whole.

    Attributes:
        relative: its path below the inbox.
        sha256: of its content, hex.
        kind: of its content.
        mtime_ns: when it was complete.
        is_last: whether it is what stands under that name in the end.
    """

    relative: str
    sha256: str
    kind: Kind
    mtime_ns: int
    is_last: bool = True


class Feeder:
    """Delivers files into `inbox`, as many as `allow` says, from a thread of its own.

    Attributes:
        delivered: the files that arrived so far.
        left_alone: path below the inbox -> bytes, of files whose names say that they are nobody's input.
        ways: how many came which way.
        contents: SHA-256 in hex -> bytes, of all that arrived.
    """

    def __init__(self, inbox: Path, is_decided: Callable[[str, str], bool], contents: Contents, seed: int) -> None:
        """Deliver nothing yet; `is_decided` tells whether a content has its result and the service left its file."""
        self.delivered: list[Delivered] = []
        self.left_alone: dict[str, bytes] = {}
        self.ways: Counter[str] = Counter()
        self.contents: dict[str, bytes] = {}
        self._inbox, self._is_decided, self._source = inbox, is_decided, contents
        self._rng = random.Random(f"feed:{seed}")  # noqa: S311 - a seed makes every run repeatable
        self._numbers = itertools.count()
        self._good: list[Content] = []
        self._allowed = self._begun = 0
        self._underway: list[tuple[float, int, Steps]] = []
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="feeder")
        (inbox.parent / "elsewhere").mkdir()
        for folder in FOLDERS:
            (inbox / folder).mkdir(parents=True, exist_ok=True)
        for name in LEFT_ALONE:
            relative = f"CR1/{name}"
            self.left_alone[relative] = name.encode() * 100
            (inbox / relative).write_bytes(self.left_alone[relative])

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever is under way."""
        self._stop.set()
        self._thread.join()

    def allow(self, files: int) -> None:
        """So many deliveries may have begun from now on."""
        self._allowed = files

    def is_done(self) -> bool:
        """Whether all that may come has come. Raises what went wrong."""
        if self._failure is not None:
            raise self._failure
        return self._begun >= self._allowed and not self._underway

    def in_the_inbox(self) -> set[Path]:
        """Files that stand there, without those that are nobody's input, and the service's own."""
        there = {path for path in self._inbox.rglob("*") if path.is_file() and not path.name.startswith(OWN)}
        return there - {self._inbox / relative for relative in self.left_alone}

    def _run(self) -> None:
        try:
            while not self._stop.wait(0.005):
                now = time.monotonic()
                if self._begun < self._allowed and self._rng.random() < 0.3:
                    heapq.heappush(self._underway, (now, self._begun, self._delivery()))
                    self._begun += 1
                while self._underway and self._underway[0][0] <= now:
                    _, number, steps = heapq.heappop(self._underway)
                    if (pause := next(steps, None)) is not None:
                        heapq.heappush(self._underway, (now + pause, number, steps))
        except BaseException as error:  # noqa: BLE001 - raised again by `is_done`
            self._failure = error

    def _delivery(self) -> Steps:
        rng = self._rng
        if self._good and rng.random() < DUPLICATES:
            self.ways["duplicate"] += 1
            content = rng.choice(self._good)
        else:
            content = self._source.draw()
        name = f"{next(self._numbers):05d}.{content.suffix}"
        folder = rng.choice(FOLDERS)
        relative = f"{folder}/{name}" if folder else name
        ways: dict[Callable[[str, Content], Steps], int] = {self._at_once: 3, self._renamed: 4, self._moved_in: 2}
        if content.kind == "good":  # a part of anything else is another file, with an outcome of its own
            self._good.append(content)
            ways |= {self._slowly: 4, self._reserved: 2, self._anew: 1}
            if content.suffix in ("jpeg", "png"):  # only those tell for sure that they are not whole
                ways[self._late] = 1
        way = rng.choices(list(ways), list(ways.values()))[0]
        self.ways[way.__name__.strip("_").replace("_", " ")] += 1
        return way(relative, content)

    def _at_once(self, relative: str, content: Content) -> Steps:
        (self._inbox / relative).write_bytes(content.data)
        self._arrived(relative, content)
        yield 0.0

    def _slowly(self, relative: str, content: Content) -> Steps:
        path = self._inbox / relative
        path.touch()  # an empty file is a decided content by then, which must not be taken for this one's
        yield self._rng.uniform(0, 1.5)
        for chunk in self._chunks(content.data):
            with path.open("ab") as stream:
                stream.write(chunk)
            yield self._rng.uniform(0, 0.8)
        self._arrived(relative, content)

    def _reserved(self, relative: str, content: Content) -> Steps:
        """As Windows copies: the whole length first, zeros until they are written over."""
        path, at = self._inbox / relative, 0
        path.write_bytes(b"")
        os.truncate(path, len(content.data))
        for chunk in self._chunks(content.data):
            yield self._rng.uniform(0.05, 0.8)
            with path.open("r+b") as stream:
                stream.seek(at)
                at += stream.write(chunk)
        self._arrived(relative, content)

    def _renamed(self, relative: str, content: Content) -> Steps:
        path = self._inbox / relative
        temporary = path.with_name(self._rng.choice(TEMPORARY).format(path.name))
        temporary.touch()
        for chunk in self._chunks(content.data):
            with temporary.open("ab") as stream:
                stream.write(chunk)
            yield self._rng.uniform(0, 0.3)
        self._arrived(relative, content, at=temporary)
        temporary.rename(path)

    def _moved_in(self, relative: str, content: Content) -> Steps:
        path = self._inbox / relative
        outside = self._inbox.parent / "elsewhere" / path.name
        outside.write_bytes(content.data)
        yield self._rng.uniform(0, 0.3)
        self._arrived(relative, content, at=outside)
        outside.rename(path)

    def _late(self, relative: str, content: Content) -> Steps:
        """The end comes when the file has long been reported as incomplete."""
        path, half = self._inbox / relative, len(content.data) // 2
        part = Content(content.data[:half], "truncated", content.suffix)
        path.write_bytes(part.data)
        self._arrived(relative, part, is_last=False)
        yield from self._until_decided("", part)
        with path.open("ab") as stream:
            stream.write(content.data[half:])
        self._arrived(relative, content)

    def _anew(self, relative: str, content: Content) -> Steps:
        """Another image under the name of one that was classified."""
        path, other = self._inbox / relative, self._source.good()
        path.write_bytes(content.data)
        self._arrived(relative, content, is_last=False)
        yield from self._until_decided(relative, content)
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(other.data)
        self._arrived(relative, other, at=temporary)
        temporary.replace(path)

    def _until_decided(self, relative: str, content: Content) -> Steps:
        digest, began = sha256(content.data).hexdigest(), time.monotonic()
        while not self._is_decided(digest, relative):
            if time.monotonic() - began > LATEST_S:
                message = f"{digest}, {content.kind}, has had no result for {LATEST_S:g} s"
                raise RuntimeError(message)
            yield 0.1

    def _chunks(self, data: bytes) -> Iterator[bytes]:
        size = max(1, -(-len(data) // self._rng.randint(2, 6)))  # no last chunk of some bytes, which could be zeros
        yield from (data[at : at + size] for at in range(0, len(data), size))

    def _arrived(self, relative: str, content: Content, *, at: Path | None = None, is_last: bool = True) -> None:
        digest = sha256(content.data).hexdigest()
        self.contents[digest] = content.data
        try:
            mtime_ns = (at or self._inbox / relative).stat().st_mtime_ns
        except FileNotFoundError:  # decided and moved away in this very moment
            mtime_ns = 0
        self.delivered.append(Delivered(relative, digest, content.kind, mtime_ns, is_last))

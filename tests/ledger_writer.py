"""A small service without images, which tests kill: it looks, claims, leaves its effect on the disk, and finishes.

python ledger_writer.py FOLDER
"""

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cxr_edge.watch.entry import Entry
from cxr_edge.watch.keys import Keys
from cxr_edge.watch.ledger import Ledger, Outcome, Status
from cxr_edge.watch.ledger_values import FileState

FILES = 60
DAY = "2026-11-20"
LEDGER = "ledger.sqlite"
MOVED: tuple[FileState, ...] = ("rejected",)


def content_of(number: int, generation: int) -> bytes:
    """SHA-256 of a file's content; every tenth file has the content of the one before it."""
    return hashlib.sha256(f"{number - (number % 10 == 9)} {generation}".encode()).digest()


def entries(folder: Path, generation: int) -> Iterator[Entry]:
    """The inbox: all files but those that were moved away."""
    for number in range(FILES):
        if not (folder / "moved" / f"{number} {generation}").exists():
            yield Entry(f"{number % 7}/{number}", str(number), number, generation)


def effect(folder: Path, name: str) -> None:
    """Something on the disk that stands for a result."""
    os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY))


def tell(folder: Path, *words: object) -> None:
    """Append a line to the record of what the ledger has confirmed."""
    descriptor = os.open(folder / "confirmed", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    try:
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(descriptor)


def decide(folder: Path, ledger: Ledger, keys: Keys, entry: Entry) -> None:
    """What the service does with a candidate."""
    tries = ledger.claim(entry)
    tell(folder, "claimed", entry.path, entry.mtime_ns, tries)
    number = int(entry.path)
    content = content_of(number, entry.mtime_ns)
    known = ledger.known(content)
    if known is not None:
        ledger.finish_duplicate(entry, known)
    else:
        effect(folder, f"results/{content.hex()}")
        good = number % 4 != 3
        outcome = Outcome(
            content=content,
            state="done" if good else "rejected",
            day=DAY,
            instance=keys.of(f"instance {number}"),
            study=keys.of(f"study {number % 5}"),
            reason=None if good else "malformed",
            score=0.25 if good else None,
            decides=good,
        )
        ledger.finish(entry, outcome)
    tell(folder, "finished", entry.path, entry.mtime_ns)


def one_pass(folder: Path, ledger: Ledger, keys: Keys, generation: int) -> int:
    """Look at all files once and do what is to be done; how many still wait."""
    waiting = 0
    for look in ledger.look(entries(folder, generation), move=MOVED):
        if look.status in (Status.STABLE, Status.RETRY):
            decide(folder, ledger, keys, look.entry)
        elif look.status is Status.MOVE:
            effect(folder, f"moved/{look.entry.path} {generation}")
            ledger.moved(look.entry)
        waiting += look.status is not Status.DECIDED
    ledger.mark_in_csv([row.content for row in ledger.rows_for_csv(20)])
    for study in ledger.dirty_studies():
        ledger.contents_of(study)
        ledger.clean(study)
    return waiting


def main(folder: Path) -> None:
    """Work without end: when all is decided, every file changes."""
    keys = Keys.open(folder)
    with Ledger.open(folder / LEDGER, keys) as ledger:
        generation = len(list((folder / "generations").iterdir()))
        while True:
            while one_pass(folder, ledger, keys, generation):
                pass
            generation += 1
            effect(folder, f"generations/{generation}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

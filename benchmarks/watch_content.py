"""Contents for `watch_kill.py`: good images, and what else arrives in a hospital's folder. Made again from a seed."""

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mutations import Mutator
from PIL import Image
from seeds import seed_files

from cxr_edge.phantom import chest_phantom, phantom_dicom

Kind = Literal["good", "truncated", "mutated", "hostile", "nothing"]
ROWS, COLUMNS = 256, 224
SUFFIXES: Final = {"JPEG": "jpeg", "PNG": "png", "BMP": "bmp", "TIFF": "tif", "WEBP": "webp"}
PIXELS_FROM_THE_END: Final = 1000  # bytes: well inside the pixel data of a phantom
NOTHINGS: Final = (b"", b"\0" * 4096, b"<html><body>Bad gateway</body></html>", b"MZ" + bytes(500), b"study.zip" * 20)


@dataclass(frozen=True, slots=True)
class Content:
    """One file's bytes, what they are, and a suffix for its name."""

    data: bytes
    kind: Kind
    suffix: str


class Contents:
    """Draws contents at random; real ones where the data folder is there, and ones made in code."""

    def __init__(self, seed: int, data: Path) -> None:
        """Read nothing but the names of real files."""
        self._rng = random.Random(f"contents:{seed}")  # noqa: S311 - a seed makes every run repeatable
        small, large = sorted((data / "kermany224").glob("*/*/*")), sorted((data / "kermany_original").glob("*/*"))
        self._rng.shuffle(small)
        self._rng.shuffle(large)
        self._small, self._large = iter(small), iter(large)
        self._hostile = [path for path in sorted((data / "dicom").rglob("*")) if path.is_file()]
        self._rng.shuffle(self._hostile)
        self._mutator = Mutator(seed, seed_files())
        self._numbers = iter(range(10**9))
        self._made: Iterator[Content] = iter(())

    def good(self) -> Content:
        """An image that nobody has tampered with; one in four is made in code, one in thirty a large original."""
        chance = self._rng.random()
        real = None if chance < 0.25 else next(self._large if chance < 0.28 else self._small, None)
        if real is not None:
            return Content(real.read_bytes(), "good", "jpeg")
        found = next(self._made, None)
        if found is None:
            self._made = self._make()
            found = next(self._made)
        return found

    def draw(self) -> Content:
        """Seven in ten are good."""
        makers: dict[Callable[[], Content], int] = {
            self.good: 70,
            self._truncated: 14,
            self._mutated: 9,
            self._hostile_file: 5,
            self._nothing: 2,
        }
        return self._rng.choices(list(makers), list(makers.values()))[0]()

    def _make(self) -> Iterator[Content]:
        """Phantoms of one seed: a raster file, or a study of two DICOM files, in one of ten with one UID for both."""
        number = next(self._numbers)
        if number % 2:
            kind = self._rng.choice(list(SUFFIXES))
            buffer = io.BytesIO()
            Image.fromarray(chest_phantom(ROWS, COLUMNS, seed=number)).save(buffer, kind)
            yield Content(buffer.getvalue(), "good", SUFFIXES[kind])
            return
        first = phantom_dicom(rows=ROWS, columns=COLUMNS, seed=number)
        yield Content(first, "good", "dcm")
        if number % 10 == 0:  # the same SOP Instance UID, a few pixels are others
            end = -PIXELS_FROM_THE_END
            yield Content(first[:end] + bytes(64) + first[end + 64 :], "good", "dcm")
        else:
            yield Content(phantom_dicom(rows=ROWS, columns=COLUMNS, seed=number, opacity=0.5), "good", "dcm")

    def _truncated(self) -> Content:
        whole = self.good()
        cut = self._rng.randrange(1, len(whole.data))
        return Content(whole.data[:cut], "truncated", whole.suffix)

    def _mutated(self) -> Content:
        return Content(self._mutator.make(next(self._numbers)), "mutated", "dcm")

    def _hostile_file(self) -> Content:
        if not self._hostile:
            return self._mutated()
        return Content(self._hostile.pop().read_bytes(), "hostile", "dcm")

    def _nothing(self) -> Content:
        return Content(self._rng.choice(NOTHINGS), "nothing", "txt")

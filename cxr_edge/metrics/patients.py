"""From images to patients."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


MANY_IMAGES, MUCH = 10, 0.2  # at least so many images, and such a share of all, are a lot for one patient


@dataclass(frozen=True, slots=True, eq=False)
class Patients:
    """Images taken together by patient.

    Attributes:
        groups: int64 [N], the place of each image's patient in the arrays below.
        positive: bool [P], whether any image of the patient is truly positive.
        score: float64 [P], the highest score of the patient's images.
        conflicts: places of patients who have truly positive images and truly negative ones.
    """

    groups: "NDArray[np.int64]"
    positive: "NDArray[np.bool_]"
    score: "NDArray[np.float64]"
    conflicts: tuple[int, ...]


def describe_lumped(patients: Sequence[str | None]) -> str:
    """That one patient has very many of the images, as where several share an identifier; empty where none has.

    Args:
        patients: of each image; None: not known.
    """
    counted = Counter(patient for patient in patients if patient is not None)
    most = max(counted.values(), default=0)
    if most < MANY_IMAGES or most < MUCH * len(patients):
        return ""
    return (
        f"one patient has {most} of the {len(patients)} images, as names, folders, tags or a CSV tell it: if these are "
        "of several patients, tell them apart"
    )


def by_patient(patients: Sequence[str | None], positive: "NDArray[np.bool_]", score: "NDArray[np.float64]") -> Patients:
    """Take images together by patient: the score is the highest, the truth positive if any image is.

    Args:
        patients: [N], who; None: not known, a patient of its own.
        positive: bool [N], the truth.
        score: float64 [N].
    """
    places: dict[str | int, int] = {}
    keys = (index if patient is None else patient for index, patient in enumerate(patients))
    groups = np.array([places.setdefault(key, len(places)) for key in keys], np.int64)
    positives = np.bincount(groups, weights=positive, minlength=len(places))
    images = np.bincount(groups, minlength=len(places))
    highest = np.zeros(len(places))
    np.maximum.at(highest, groups, score)
    conflicts = np.flatnonzero((positives > 0) & (positives < images))
    return Patients(
        groups=groups, positive=positives > 0, score=highest, conflicts=tuple(int(place) for place in conflicts)
    )

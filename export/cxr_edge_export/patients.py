"""Whose image a file is: what its name, its DICOM tags or its folder tell, so that no patient stands on two sides."""

import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from cxr_edge.decode.hush import hushed
from cxr_edge.labelled import patient_of
from cxr_edge.metrics import describe_lumped

RASTERS = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})  # suffixes of files without tags
ALONE = "alone "  # before the SHA-256 of an image of which nothing is known


def patient_of_file(path: Path, class_folder: Path | None, sha256: str) -> str:
    """An identifier within its data set: the same for images of one patient, if not always only for those.

    The first that there is: a picture's name of the Guangzhou set's form (`patient_of`); Patient ID (0010,0020) with
    its issuer, hashed; the first folder below the class folder. An image of which nothing is known is a patient of its
    own.

    Args:
        path: the file.
        class_folder: the nearest folder above it that stands for its class; None: there is none.
        sha256: of its bytes.
    """
    folders = path.parent.relative_to(class_folder).parts if class_folder is not None else ()
    if named := patient_of(path.name, in_folder=bool(folders)):
        return named
    if path.suffix.lower() not in RASTERS and (tagged := _by_tags(path)):
        return tagged
    return f"folder {folders[0]}" if folders else ALONE + sha256


def known(patient: str) -> str | None:
    """The identifier; None where nothing was known."""
    return None if patient.startswith(ALONE) else patient


def describe_unknown(patients: Collection[str]) -> str:
    """Of how many images nothing is known, in words for a person; empty where all patients are."""
    if not (unknown := sum(known(patient) is None for patient in patients)):
        return ""
    return (
        f"nothing tells the patient of {unknown} of {len(patients)} images: each counts as one of its own, and two "
        "of one patient may train and judge; name patients in a CSV (selection.metadata_csv), or give each a folder"
    )


def describe_shared(patients: Collection[str]) -> str:
    """That many images are told to be of one patient, in words for a person; empty where no patient has many."""
    return describe_lumped([known(patient) for patient in patients])


def relative_to(path: Path, root: Path) -> str:
    """A path as seen from a folder, with `/`; the whole path where it does not lie in it.

    Not where a file's own link leads: names and folders tell class and patient.
    """
    found = Path(os.path.abspath(path))  # noqa: PTH100 - `absolute` keeps `..`
    for base in (Path(os.path.abspath(root)), root.resolve()):  # noqa: PTH100
        if found.is_relative_to(base):
            return found.relative_to(base).as_posix()
    return found.as_posix()


def _by_tags(path: Path) -> str | None:
    import pydicom

    wanted = ["PatientID", "IssuerOfPatientID"]
    try:
        with hushed():
            read = pydicom.dcmread(path, force=True, stop_before_pixels=True, specific_tags=wanted)
            given = [str(read.get(name) or "").strip() for name in wanted]
    except Exception:  # noqa: BLE001 - whatever is wrong with the file is told when it is decoded
        return None
    return f"tags {hashlib.sha256(chr(0).join(given).encode()).hexdigest()[:16]}" if given[0] else None

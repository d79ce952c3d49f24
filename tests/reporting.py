"""Reports of made-up predictions, and how their text is read back."""

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from contracts import MEMBER, make_contract, make_prediction

from cxr_edge.contract import Contract
from cxr_edge.phantom import chest_phantom
from cxr_edge.types import Note, Prediction, Radiograph

CREATED = datetime(2026, 3, 4, 15, 6, tzinfo=timezone(timedelta(hours=1)))
CONTRACT = make_contract()


def make_read(**changes: Any) -> Prediction:
    """A positive prediction with its radiograph and an activation map."""
    maps = np.zeros((7, 7, 2), np.float32)
    maps[2:4, 1:3, 1] = 8
    picture = Radiograph(chest_phantom(128, 105), "ps3.3-c11-floor8/window")
    return replace(make_prediction(activation_map=maps, radiograph=picture), **changes)


def make_three(label: str = "VIRAL") -> tuple[Prediction, Contract]:
    """A prediction among three labels, two of them positive, and its contract."""
    labels = ("NORMAL", "BACTERIAL", "VIRAL")
    prediction = make_read(
        label=label,
        probabilities=dict(zip(labels, (0.0312, 0.2604, 0.7084), strict=True)),
        score=0.9688,
        activation_map=np.zeros((7, 7, 3), np.float32),
    )
    return prediction, make_contract(labels=labels, positive_labels=labels[1:])


def make_endless() -> tuple[Prediction, Contract]:
    """Everything at once that is long: texts, lists and labels."""
    labels = tuple(f"FINDING {number} OF A VERY LONG NAME THAT GOES ON" for number in range(30))
    notes = tuple(Note(f"unheard_of_{number}", f"message {number} " * 30) for number in range(12))
    read = make_read()
    prediction = replace(
        read,
        label=labels[7],
        probabilities=dict.fromkeys(labels, 1 / 30),
        source=replace(read.source, path="y" * 500),
        gate=replace(read.gate, status="refused", reasons=notes),
        warnings=notes,
        operating_point=replace(read.operating_point, name="point " * 40, data="data " * 300, how_chosen="rule " * 300),
        activation_map=np.zeros((7, 7, 30), np.float32),
    )
    statement = "Research use only; not a medical device. " + "And so on and on. " * 200
    use = replace(CONTRACT.intended_use, statement=statement, modalities=tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ") * 9)
    return prediction, make_contract(labels=labels, positive_labels=labels[5:], intended_use=use)


def padded() -> Contract:
    """Of a model that does not see the whole image."""
    return make_contract(members=(replace(MEMBER, resize=replace(MEMBER.resize, aspect="pad")),))


def text_of(pdf: bytes) -> str:
    """What pdftotext reads, a space for any run of white space."""
    return re.sub(r"\s+", " ", _poppler("pdftotext", "-raw", "-enc", "UTF-8", "-", "-", pdf=pdf))


def lines_of(command: str, pdf: bytes) -> list[str]:
    """Lines of pdfinfo or pdffonts."""
    return _poppler(command, "-", pdf=pdf).splitlines()


def _poppler(*command: str, pdf: bytes) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]} (poppler-utils)")
    return subprocess.run(command, input=pdf, capture_output=True, check=True).stdout.decode("utf-8")

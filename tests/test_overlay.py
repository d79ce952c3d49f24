"""A site's own operating point: bound to one model, refused when it says anything else."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from contracts import DIGEST, POINT, make_contract
from tiny_models import tiny_model, tiny_score

import cxr_edge
from cxr_edge.errors import UsageError
from cxr_edge.overlay import (
    OverlayImages,
    make_overlay,
    overlay_from_json,
    overlay_json_schema,
    overlay_to_json,
    read_overlay,
    site_operating_point,
)
from cxr_edge.types import ModelIdentity

SITE = replace(POINT, name="site", threshold=0.3, data="ours")
OVERLAY = make_overlay(
    SITE,
    ModelIdentity("test-model", "1.0.0", DIGEST),
    OverlayImages(positives=3, negatives=4, rejected=0, sha256=DIGEST),
    "2026-01-01T00:00:00Z",
    ("small sample",),
)


def _changed(*path: str, value: Any) -> bytes:
    raw = json.loads(overlay_to_json(OVERLAY))
    inner = raw
    for key in path[:-1]:
        inner = inner[key]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return json.dumps(raw).encode()


def test_round_trip(tmp_path: Path) -> None:
    file = tmp_path / "site.json"
    file.write_bytes(b"\xef\xbb\xbf" + overlay_to_json(OVERLAY))
    assert read_overlay(file) == OVERLAY
    assert site_operating_point(OVERLAY, make_contract(), DIGEST) == SITE


def test_files_follow_the_documented_schema() -> None:
    validator = jsonschema.Draft202012Validator(overlay_json_schema())
    validator.validate(json.loads(overlay_to_json(OVERLAY)))
    assert not validator.is_valid(json.loads(_changed("surprise", value=1)))
    assert not validator.is_valid(json.loads(_changed("operating_point", "threshold", value=1)))


def test_another_models_overlay_is_refused() -> None:
    with pytest.raises(UsageError, match=f"belongs to the model with SHA-256 {DIGEST}; this one has cdcd"):
        site_operating_point(OVERLAY, make_contract(), "cd" * 32)


def test_a_name_of_the_contract_is_refused() -> None:
    overlay = overlay_from_json(_changed("operating_point", "name", value="screening"))
    with pytest.raises(UsageError, match="'screening', as one of the model's own"):
        site_operating_point(overlay, make_contract(), DIGEST)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("operating_point", "threshold"), 0, "threshold"),
        (("operating_point", "threshold"), 1.0, "threshold"),
        (("operating_point", "threshold"), "0.5", "threshold"),
        (("operating_point", "threshold"), None, "missing required field `threshold`"),
        (("operating_point", "surprise"), 1, "unknown field `surprise`"),
        (("surprise",), 1, "unknown field `surprise`"),
        (("operating_point", "name"), "a b", "name"),
        (("operating_point", "sensitivity", "low"), 0.99, "sensitivity 0.9 lies outside"),
        (("operating_point", "sensitivity", "estimate"), 2, "estimate"),
        (("operating_point", "data"), "\x1b[2J", "a terminal would act on"),
        (("model", "sha256"), "AB" * 32, "sha256"),
        (("statement",), "certified", "lacks the words"),
        (("statement",), None, "missing required field `statement`"),
        (("schema_version",), 2, "schema_version is '2'"),
        (("schema_version",), None, "is no overlay"),
        (("kind",), "evaluation", "is no overlay"),
    ],
)
def test_refused(path: tuple[str, ...], value: Any, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        overlay_from_json(_changed(*path, value=value))


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"kind": NaN}'])
def test_no_json(content: bytes) -> None:
    with pytest.raises(UsageError, match="overlay"):
        overlay_from_json(content)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_overlay(tmp_path / "none.json")
    (tmp_path / "big.json").write_bytes(b" " * (2 << 20))
    with pytest.raises(UsageError, match="more than"):
        read_overlay(tmp_path / "big.json")


def test_a_point_that_no_overlay_may_hold() -> None:
    with pytest.raises(UsageError, match="not valid"):
        make_overlay(
            replace(SITE, threshold=1.5),
            ModelIdentity("test-model", "1.0.0", DIGEST),
            OverlayImages(positives=3, negatives=4, rejected=0, sha256=DIGEST),
            "2026-01-01T00:00:00Z",
        )


def _overlay_for(model: Path, folder: Path) -> Path:
    classifier = cxr_edge.load(model)
    images = OverlayImages(positives=3, negatives=4, rejected=0, sha256=DIGEST)
    overlay = make_overlay(SITE, classifier.model, images, "2026-01-01T00:00:00Z", ())
    file = folder / "site.json"
    file.write_bytes(overlay_to_json(overlay))
    return file


@pytest.mark.parametrize("form", [str, Path])
def test_a_classifier_decides_at_the_sites_own_point(tmp_path: Path, form: Any) -> None:
    model = tiny_model(tmp_path)
    gray = np.full((224, 224), 120, np.uint8)  # between the site's threshold and the default one
    assert 0.3 < tiny_score(gray) < 0.5
    site = cxr_edge.load(model, operating_point=form(_overlay_for(model, tmp_path)))
    assert site.classify(gray).positive
    assert site.classify(gray).operating_point == SITE
    assert pickle.loads(pickle.dumps(site)).operating_point == SITE  # noqa: S301 - our own
    assert not cxr_edge.load(model).classify(gray).positive


def test_an_overlay_of_another_file_is_refused(tmp_path: Path) -> None:
    overlay = _overlay_for(tiny_model(tmp_path), tmp_path)
    with pytest.raises(UsageError):
        cxr_edge.load(operating_point=overlay)
    with pytest.raises(UsageError, match="nor is that a file"):
        cxr_edge.load(operating_point="no such point")
    with pytest.raises(UsageError, match="overlay"):
        cxr_edge.load(operating_point=tmp_path / "absent.json")

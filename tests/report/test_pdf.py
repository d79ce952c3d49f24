"""The file itself: the same bytes for the same input, nothing of the machine in it, every font embedded."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files

import numpy as np
import pytest
from reporting import CONTRACT, CREATED, lines_of, make_read, text_of

from cxr_edge._version import __version__
from cxr_edge.errors import EnvironmentUnusable, UsageError
from cxr_edge.report import check_report_extra, report_pdf
from cxr_edge.report.pictures import MOST_PIXELS_A_SIDE, small
from cxr_edge.types import Radiograph

pytest.importorskip("reportlab")

IN_ANOTHER_PROCESS = """
import hashlib, sys
from dataclasses import replace
from reporting import CONTRACT, CREATED, make_read
from cxr_edge.report import report_pdf
read = make_read()
read = replace(read, source=replace(read.source, path="田中 عبد Łódź.dcm"))
print(hashlib.sha256(report_pdf(read, CONTRACT, created=CREATED, language="es", identifiers=True)).hexdigest())
"""


def test_the_same_input_gives_the_same_bytes() -> None:
    read = make_read()
    first = report_pdf(read, CONTRACT, created=CREATED)
    assert report_pdf(read, CONTRACT, created=CREATED) == first
    assert report_pdf(read, CONTRACT, created=CREATED + timedelta(minutes=1)) != first


def test_the_heat_map_of_a_label_that_is_asked_for() -> None:
    read = make_read()
    normal = report_pdf(read, CONTRACT, created=CREATED, heatmap_label="NORMAL")
    assert normal != report_pdf(read, CONTRACT, created=CREATED)
    assert "evidence for normal" in " ".join(text_of(normal).lower().split())
    with pytest.raises(UsageError, match="no label 'OTHER'"):
        report_pdf(read, CONTRACT, created=CREATED, heatmap_label="OTHER")


def test_the_same_bytes_in_any_process() -> None:
    path = os.pathsep.join(sys.path)
    digests = set()
    for change in ({"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1"}, {"TZ": "UTC", "USER": "anna"}):
        done = subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS],
            capture_output=True,
            check=True,
            env={**os.environ, "PYTHONPATH": path, **change},
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1


def test_threads_do_not_disturb_one_another() -> None:
    names = ("田中.dcm", "김철수.dcm", "عبد.dcm", "Łódź.dcm", "plain.dcm", "דוד.dcm")
    read = make_read()

    def draw(name: str) -> bytes:
        named = replace(read, source=replace(read.source, path=name))
        return report_pdf(named, CONTRACT, created=CREATED, identifiers=True)

    alone = [draw(name) for name in names]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(draw, names * 3)) == alone * 3


def test_metadata_names_neither_machine_nor_person() -> None:
    lines = lines_of("pdfinfo", report_pdf(make_read(), CONTRACT, created=CREATED, identifiers=True))
    info = {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}
    assert info["Title"] == "Chest radiograph classification report"
    assert info["Subject"] == "Research use only; not a medical device."
    assert (info["Author"], info["Creator"]) == ("cxr-edge", f"cxr-edge {__version__}")
    assert info["Producer"].startswith("ReportLab")
    assert info["Keywords"] == ""
    assert "14:06:00" in info["CreationDate"]  # UTC
    assert info["JavaScript"] == "no"


def test_every_font_is_embedded_as_a_subset() -> None:
    read = make_read()
    named = replace(read, source=replace(read.source, path="田中 김 عبد דוד.dcm"))
    _, _, *fonts = lines_of("pdffonts", report_pdf(named, CONTRACT, created=CREATED, identifiers=True))
    names = {font.split()[0].partition("+")[2] for font in fonts}
    assert names == {
        "NotoSans-Regular",
        "NotoSans-Bold",
        "DroidSansFallback",
        "CXRHangul-Regular",
        "NotoSansArabic-Regular",
        "NotoSansHebrew-Regular",
    }
    assert all(font.split()[-5:-2] == ["yes", "yes", "yes"] for font in fonts)  # embedded, subset, unicode


def test_each_font_has_its_licence_beside_it() -> None:
    folder = files("cxr_edge.report") / "fonts"
    readme = (folder / "README.md").read_text("utf-8")
    fonts = [entry.name for entry in folder.iterdir() if entry.name.endswith(".ttf")]
    assert len(fonts) == 6
    assert all(name in readme for name in fonts)
    assert "SIL OPEN FONT LICENSE" in (folder / "OFL.txt").read_text("utf-8")


def test_what_is_asked_wrongly() -> None:
    read = make_read()
    with pytest.raises(UsageError, match="keep_radiograph=True"):
        report_pdf(replace(read, radiograph=None), CONTRACT)
    with pytest.raises(UsageError, match="need en or es"):
        report_pdf(read, CONTRACT, language="fr")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="time zone"):
        report_pdf(read, CONTRACT, created=datetime(2026, 1, 1))  # noqa: DTZ001 - that is what is tested


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(EnvironmentUnusable, match=r'need arabic_reshaper and reportlab: pip install "\.\[report\]"'):
        check_report_extra()
    with pytest.raises(EnvironmentUnusable):
        report_pdf(make_read(), CONTRACT)


def test_the_date_is_now_by_default() -> None:
    before = datetime.now().astimezone().replace(second=0, microsecond=0)
    text = text_of(report_pdf(make_read(), CONTRACT))
    shown = text.partition("Date of this report: ")[2][:16]
    assert before.replace(tzinfo=None) <= datetime.strptime(shown, "%Y-%m-%d %H:%M")  # noqa: DTZ007 - local


@pytest.mark.parametrize(
    ("minutes", "english", "spanish"),
    [
        (0, "2026-11-21 12:01 (UTC)", "21/11/2026 12:01 (UTC)"),
        (-150, "2026-11-21 09:31 (UTC-02:30)", "21/11/2026 09:31 (UTC-02:30)"),
    ],
)
def test_the_date_with_its_zone(minutes: int, english: str, spanish: str) -> None:
    created = datetime(2026, 11, 21, 12, 1, tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
    assert f"Date of this report: {english}" in text_of(report_pdf(make_read(), CONTRACT, created=created))
    in_spanish = text_of(report_pdf(make_read(), CONTRACT, created=created, language="es"))
    assert f"Fecha de este informe: {spanish}" in in_spanish


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (4000, 3), (1500, 1300)])
def test_pictures_of_any_shape(shape: tuple[int, int]) -> None:
    picture = Radiograph(np.full(shape, 90, np.uint8), "test")
    read = make_read(radiograph=picture)
    reduced = small(read, picture).radiograph
    assert reduced is not None
    assert max(reduced.pixels.shape) <= MOST_PIXELS_A_SIDE
    assert report_pdf(read, CONTRACT, created=CREATED).startswith(b"%PDF-")
    assert picture.pixels.shape == shape


def test_importing_the_package_is_light() -> None:
    heavy = {"reportlab", "cv2", "arabic_reshaper"}
    code = f"import sys, cxr_edge.report, cxr_edge.cli; sys.exit(not {heavy}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""What `classify` writes beside the rows: heat maps and PDF reports, named by the SHA-256 of the image's bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cxr_edge.errors import OutputError
from cxr_edge.files import refuse_existing, write_atomically
from cxr_edge.types import Prediction

if TYPE_CHECKING:
    from cxr_edge.contract import Contract

ReportLanguage = Literal["en", "es"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """What stands on every report of one call; one date for all of them."""

    language: ReportLanguage
    identifiers: bool
    created: datetime = field(default_factory=lambda: datetime.now(UTC).astimezone())


@dataclass(slots=True)
class SideFiles:
    """The folders of one call, None where none is wanted.

    Attributes:
        heatmaps: for `<content_sha256>.png`, with a `heatmap_label` for `<content_sha256>-<its number>.png`.
        reports: for `<content_sha256>.pdf`.
        heatmap_label: as for `heat_map`.
        report_options: of all reports.
        overwrite: whether other content is replaced.
    """

    heatmaps: Path | None
    reports: Path | None
    heatmap_label: str | None = field(kw_only=True)
    report_options: ReportOptions = field(kw_only=True)
    overwrite: bool = field(kw_only=True)
    _reported: set[str] = field(default_factory=set, init=False)

    @property
    def wanted(self) -> bool:
        """Whether anything is to be written, and so the radiographs to be kept for a while."""
        return self.heatmaps is not None or self.reports is not None

    def check_extra(self) -> None:
        """Look for what reports need, before anything slow.

        Raises:
            EnvironmentUnusable: the extra `report` is not installed.
        """
        if self.reports is not None:
            from cxr_edge.report import check_report_extra

            check_report_extra()

    def prepare(self, contract: "Contract") -> None:
        """Make the folders.

        Raises:
            UsageError: heat maps are wanted of a model that has none, or for a label that it has not.
            OutputError: a folder cannot be made.
        """
        if self.heatmaps is not None or self.heatmap_label is not None:
            from cxr_edge.heatmap import check_heat_maps

            check_heat_maps(contract, self.heatmap_label)
        for folder in (self.heatmaps, self.reports):
            if folder is not None:
                _make_folder(folder)

    def write(self, prediction: Prediction, contract: "Contract") -> Iterator[str]:
        """Write what is wanted of one image; says what could not be written, a sentence each.

        Args:
            prediction: made with `keep_radiograph=True`.
            contract: of the model that made it.
        """
        for folder, write in ((self.heatmaps, self._heat_map), (self.reports, self._report)):
            if folder is None:
                continue
            try:
                write(folder, prediction, contract)
            except OutputError as error:
                yield str(error)

    def _heat_map(self, folder: Path, prediction: Prediction, contract: "Contract") -> None:
        from cxr_edge.heatmap import heat_map_png
        from cxr_edge.results.rows import heat_map_name

        label = self.heatmap_label
        png = heat_map_png(prediction, contract, label)
        index = None if label is None else contract.labels.index(label)
        target = folder / heat_map_name(str(prediction.source.content_sha256), index)
        if target.is_file() and target.read_bytes() == png:
            return  # the same image twice in one call, or a call made again
        write_atomically(target, png, overwrite=self.overwrite)

    def _report(self, folder: Path, prediction: Prediction, contract: "Contract") -> None:
        digest = str(prediction.source.content_sha256)
        if digest in self._reported:  # the same image twice in one call: its latency differs, and so would the page
            return
        target = folder / f"{digest}.pdf"
        refuse_existing(target, overwrite=self.overwrite)
        write_atomically(target, self._drawn(prediction, contract), overwrite=self.overwrite)
        self._reported.add(digest)

    def _drawn(self, prediction: Prediction, contract: "Contract") -> bytes:
        from cxr_edge.report import report_pdf

        options = self.report_options
        try:
            return report_pdf(
                prediction,
                contract,
                language=options.language,
                identifiers=options.identifiers,
                created=options.created,
                heatmap_label=self.heatmap_label,
            )
        except Exception as error:  # the edge of a batch: a report that cannot be drawn loses no row
            message = f"the report of one image could not be drawn: {type(error).__name__}"
            raise OutputError(message) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"cannot make the folder {folder}: {error.strerror}"
        raise OutputError(message) from error

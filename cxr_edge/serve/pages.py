"""The other endpoints: the page and its files, the model, health, and what was kept of a result."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cxr_edge import __version__
from cxr_edge.classifier import Classifier
from cxr_edge.contract import to_json
from cxr_edge.errors import EnvironmentUnusable, UsageError
from cxr_edge.heatmap import check_heat_maps
from cxr_edge.report import LANGUAGES, check_report_extra, report_pdf, safety_statement
from cxr_edge.serve.assets import INDEX, Asset
from cxr_edge.serve.leaving import unless_gone
from cxr_edge.serve.parameters import choice, flag, one_of
from cxr_edge.serve.pictures import overlay_png, radiograph_png
from cxr_edge.serve.problem import ProblemError, stopping, unusable
from cxr_edge.serve.settings import Settings
from cxr_edge.serve.store import ResultStore
from cxr_edge.serve.workers import Workers
from cxr_edge.types import Prediction

REVALIDATE = "no-cache"  # kept by the browser, asked about each time: an update of the package shows at once


@dataclass(frozen=True, slots=True)
class Assets:
    """The page at `/`, its files under `/assets/`."""

    files: Mapping[str, Asset]

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return self._answer(request, INDEX)

    async def file(self, request: Request) -> Response:
        """One of its files.

        Raises:
            ProblemError: 404.
        """
        return self._answer(request, request.path_params["name"])

    def _answer(self, request: Request, name: str) -> Response:
        file = self.files.get(name)
        if file is None:
            raise not_found()
        headers = {"etag": file.etag, "cache-control": REVALIDATE, "content-type": file.media_type}
        if file.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers={"etag": file.etag, "cache-control": REVALIDATE})
        return Response(file.content, headers=headers)


@dataclass(frozen=True, slots=True)
class Results:
    """Pictures and report of a result that was kept."""

    store: ResultStore
    workers: Workers
    classifier: Classifier

    async def radiograph(self, request: Request) -> Response:
        """The radiograph as it was classified, at most 2048 pixels a side."""
        prediction = self._of(request)
        png = await self._drawn(request, lambda: radiograph_png(prediction))
        return Response(png, media_type="image/png")

    async def heatmap(self, request: Request) -> Response:
        """The evidence, for one label where that is asked for, transparent, to be stretched over the radiograph.

        Raises:
            ProblemError: 400, no such label; 404, also for a model without heat maps.
        """
        prediction, contract = self._of(request), self.classifier.contract
        if not has_heat_maps(self.classifier):
            raise not_found()
        label = one_of(request, "label", contract.labels)
        png = await self._drawn(request, lambda: overlay_png(prediction, contract, label))
        return Response(png, media_type="image/png")

    async def report(self, request: Request) -> Response:
        """One page as PDF.

        Raises:
            ProblemError: 400, no such language or label; 404; 501 where reports cannot be made.
        """
        prediction, contract = self._of(request), self.classifier.contract
        language = choice(request, "lang", LANGUAGES)
        identifiers = flag(request, "identifiers", default=False)
        label = one_of(request, "label", contract.labels)
        try:
            check_report_extra()
        except EnvironmentUnusable as error:
            raise ProblemError(501, "report_unavailable", str(error)) from None
        pdf = await self._drawn(
            request,
            lambda: report_pdf(prediction, contract, language=language, identifiers=identifiers, heatmap_label=label),
        )
        headers = {"content-disposition": 'attachment; filename="cxr-edge-report.pdf"'}
        return Response(pdf, headers=headers, media_type="application/pdf")

    async def _drawn(self, request: Request, picture: Callable[[], bytes]) -> bytes:
        """A picture; none for a client that left."""
        return await unless_gone(request.receive, self.workers.draw(picture))

    def _of(self, request: Request) -> Prediction:
        found = self.store.get(request.path_params["id"])
        if found is None:
            message = "there is no such result, or it is no longer kept; classify the image again"
            raise ProblemError(404, "no_such_result", message)
        return found


@dataclass(slots=True)
class Health:
    """Whether the process lives, and whether it can classify.

    Attributes:
        stopping: whether the server was asked to stop.
    """

    workers: Workers
    stopping: bool = False

    async def health(self, _request: Request) -> Response:
        """The process lives."""
        return JSONResponse({"status": "ok"})

    async def ready(self, _request: Request) -> Response:
        """The model is loaded, its self-test passed, and no image met a broken installation just now.

        Raises:
            ProblemError: 503.
        """
        if self.stopping:
            raise stopping()
        reason = self.workers.unusable()
        if reason is not None:
            raise unusable(reason)
        return JSONResponse({"status": "ok"})


def model_document(classifier: Classifier, settings: Settings) -> dict[str, Any]:
    """What `GET /model` answers: the contract, what runs it, and the limits of a request."""
    model, point = classifier.model, classifier.operating_point
    return {
        "version": __version__,
        "model": {"name": model.name, "version": model.version, "sha256": model.sha256},
        "execution_provider": classifier.execution_provider,
        "operating_point": {"name": point.name, "threshold": point.threshold},
        "notices": [note.code for note in classifier.notices],
        "heatmap": has_heat_maps(classifier),
        "safety_statement": {name: asdict(safety_statement(classifier.contract, name)) for name in LANGUAGES},
        "limits": {"max_body_bytes": settings.max_body_bytes, "max_files": settings.max_files},
        "contract": json.loads(to_json(classifier.contract)),
    }


def has_heat_maps(classifier: Classifier) -> bool:
    """Whether heat maps of this model can be drawn."""
    try:
        check_heat_maps(classifier.contract)
    except UsageError:
        return False
    return True


def not_found() -> ProblemError:
    """A path that leads nowhere."""
    return ProblemError(404, "no_such_resource", "there is nothing at this path; GET /openapi.json tells what there is")

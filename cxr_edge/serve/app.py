"""The application: routes, what they share, and the middlewares around them."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from cxr_edge import __version__
from cxr_edge.classifier import Classifier
from cxr_edge.serve import metrics as prometheus
from cxr_edge.serve.admission import Admission
from cxr_edge.serve.assets import read_assets
from cxr_edge.serve.edge import CLIENT_GONE, Edge
from cxr_edge.serve.guard import Guard
from cxr_edge.serve.leaving import ClientGoneError
from cxr_edge.serve.log import Log
from cxr_edge.serve.metrics import Metrics
from cxr_edge.serve.openapi import openapi_document
from cxr_edge.serve.pages import Assets, Health, Results, has_heat_maps, model_document, not_found
from cxr_edge.serve.predict import Predict
from cxr_edge.serve.problem import ProblemError, defect, problem_response
from cxr_edge.serve.settings import Settings
from cxr_edge.serve.store import ResultStore
from cxr_edge.serve.upload import Uploads
from cxr_edge.serve.workers import Workers

NOT_FOUND, METHOD_NOT_ALLOWED = 404, 405
Endpoint = Callable[[Request], Awaitable[Response]]
Gauges = Mapping[str, tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Application:
    """The ASGI application and what its server has to tell it.

    Attributes:
        asgi: the application with all its middlewares.
        store: results for the page; to be swept now and then.
    """

    asgi: ASGIApp
    store: ResultStore
    workers: Workers
    uploads: Uploads
    health: Health

    def stop(self) -> None:
        """Take no more uploads; what is complete is finished."""
        self.health.stopping = True
        self.uploads.stop()

    def close(self) -> None:
        """Forget all results, begin nothing more."""
        self.store.clear()
        self.workers.close()


def make_application(
    classifier: Classifier, settings: Settings, log: Log, *, port: int, is_loopback: bool
) -> Application:
    """Everything between a connection and the classifier.

    Args:
        classifier: stays its owner's to close.
        settings: of this server.
        log: takes a line for each request.
        port: that the server really listens on.
        is_loopback: whether only this machine can reach it.
    """
    identity = {"version": __version__, "model": classifier.model.name, "model_sha256": classifier.model.sha256}
    metrics, store = Metrics(identity), ResultStore()
    workers, uploads = Workers(classifier), Uploads(settings)
    admission, health = Admission(settings.queue, settings.held_bytes), Health(workers)
    predict = Predict(workers, uploads, admission, store, metrics, has_heat_maps(classifier))
    results, assets = Results(store, workers, classifier), Assets(read_assets())

    model = _constant(model_document(classifier, settings))
    document = _constant(openapi_document(token=settings.token is not None))
    endpoints = {
        "/predict": predict.predict,
        "/results/{id}/radiograph.png": results.radiograph,
        "/results/{id}/heatmap.png": results.heatmap,
        "/results/{id}/report.pdf": results.report,
        "/model": model,
        "/openapi.json": document,
        "/health": health.health,
        "/ready": health.ready,
        "/metrics": _counts(metrics, lambda: _gauges(workers, admission, store)),
        "/": assets.page,
        "/assets/{name}": assets.file,
    }
    guarded = Guard(_routed(endpoints), settings, port, is_loopback=is_loopback)
    edge = Edge(guarded, log, metrics, {endpoint: path for path, endpoint in endpoints.items()})
    return Application(edge, store, workers, uploads, health)


def _routed(endpoints: Mapping[str, Endpoint]) -> Starlette:
    """Each path to its endpoint; what goes wrong on the way as problem documents."""
    routes = [
        Route(path, endpoint, methods=["POST"] if path == "/predict" else ["GET"])
        for path, endpoint in endpoints.items()
    ]
    routed = Starlette(routes=routes, exception_handlers=_HANDLERS)
    routed.router.redirect_slashes = False
    return routed


def _constant(document: object) -> Endpoint:
    """An endpoint that answers one document for as long as the server runs."""
    body = json.dumps(document, ensure_ascii=False, allow_nan=False).encode()

    async def answer(_request: Request) -> Response:
        return Response(body, media_type="application/json")

    return answer


def _counts(metrics: Metrics, gauges: Callable[[], Gauges]) -> Endpoint:
    async def answer(_request: Request) -> Response:
        return Response(metrics.text(gauges()), headers={"content-type": prometheus.MEDIA_TYPE})

    return answer


def _gauges(workers: Workers, admission: Admission, store: ResultStore) -> Gauges:
    return {
        "requests_held": ("POST /predict that are uploading, waiting or at work.", admission.requests),
        "upload_bytes_held": ("Bytes of their bodies in memory.", admission.held_bytes),
        "images_waiting": ("Images that wait for a thread.", workers.waiting),
        "images_at_work": ("Images that have one.", workers.at_work),
        "results_kept": ("Results kept in memory for the page.", len(store)),
        "result_bytes_kept": ("Bytes of their pixels.", store.held_bytes),
    }


async def _answer_problem(request: Request, error: Exception) -> Response:
    problem = error if isinstance(error, ProblemError) else _problem_of(error)
    return problem_response(request.scope, problem)


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)


def _problem_of(error: Exception) -> ProblemError:
    """Starlette's own exceptions: no route, or none for this method. All others are defects."""
    if not isinstance(error, HTTPException):
        return defect()
    if error.status_code == METHOD_NOT_ALLOWED:
        message = "this path has no such method"
        return ProblemError(METHOD_NOT_ALLOWED, "method_not_allowed", message, headers=error.headers)
    if error.status_code == NOT_FOUND:
        return not_found()
    return ProblemError(error.status_code, "bad_request", "the request is not valid")


_HANDLERS = {
    ClientGoneError: _answer_nobody,
    **dict.fromkeys((ProblemError, HTTPException, Exception), _answer_problem),
}

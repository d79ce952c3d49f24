"""`POST /predict`: upload, classify, answer; whatever the client does meanwhile."""

import asyncio
from dataclasses import dataclass, replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from cxr_edge.errors import EnvironmentUnusable
from cxr_edge.serve.admission import Admission
from cxr_edge.serve.answers import Answer, answer_of, links_of, problem_of
from cxr_edge.serve.form import Upload
from cxr_edge.serve.leaving import unless_gone
from cxr_edge.serve.metrics import Metrics
from cxr_edge.serve.parameters import flag
from cxr_edge.serve.problem import unusable
from cxr_edge.serve.store import ResultStore
from cxr_edge.serve.upload import Uploads
from cxr_edge.serve.workers import Workers
from cxr_edge.types import Prediction


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the query asks for."""

    heatmap: bool
    identifiers: bool


@dataclass(frozen=True, slots=True)
class Predict:
    """The endpoint, with all that it uses.

    Attributes:
        has_heat_maps: whether the model's heat maps can be drawn.
    """

    workers: Workers
    uploads: Uploads
    admission: Admission
    store: ResultStore
    metrics: Metrics
    has_heat_maps: bool

    async def predict(self, request: Request) -> Response:
        """Answer one request.

        Raises:
            ProblemError: it is refused, or its one file was rejected.
            ClientGoneError: the client went away.
        """
        wishes = _Wishes(flag(request, "heatmap", default=False), flag(request, "identifiers", default=True))
        announced = self.uploads.check_header(request.headers)
        try:
            with self.admission.place(announced) as place:
                files = await self.uploads.read(request.headers, request.receive, place)
                answers = await unless_gone(request.receive, self._classify_all(files, wishes))
        except EnvironmentUnusable as error:
            raise unusable(str(error)) from None
        if len(answers) > 1:
            return JSONResponse({"results": answers})
        if answers[0]["status"] == "rejected":
            raise problem_of(answers[0])
        return JSONResponse(answers[0])

    async def _classify_all(self, files: list[Upload], wishes: _Wishes) -> list[Answer]:
        """In order; no more at once than there are threads, so that other requests have their turn."""
        turns = asyncio.Semaphore(self.workers.threads)

        async def one(file: Upload) -> Answer:
            async with turns:
                return await self._classify(file, wishes)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(file)) for file in files]
        return [task.result() for task in tasks]

    async def _classify(self, file: Upload, wishes: _Wishes) -> Answer:
        result = await self.workers.classify(file.content, keep_radiograph=wishes.heatmap)
        self.metrics.count_image(result)
        result = replace(result, source=replace(result.source, path=file.name or None))
        answer = answer_of(result, identifiers=wishes.identifiers)
        if wishes.heatmap and isinstance(result, Prediction):
            answer |= links_of(self.store.put(result), has_heat_map=self.has_heat_maps)
        return answer

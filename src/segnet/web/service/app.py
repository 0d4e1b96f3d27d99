"""Routes of the service, with their description for OpenAPI. Imported where FastAPI is installed."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from segnet.visualization.style import OverlayStyle
from segnet.web.service.answers import ANSWERS, AnswerFormat, choose_answer
from segnet.web.service.inference import InferenceService
from segnet.web.service.models import ModelSet
from segnet.web.service.page import render_api
from segnet.web.service.refusals import DisconnectedError, RefusedError
from segnet.web.service.settings import ServiceConfig
from segnet.web.service.telemetry import Metrics, RequestLog
from segnet.web.service.uploads import FORM, RAW_KINDS

__all__ = ["create_app", "observe_app"]

_BEARER = HTTPBearer(auto_error=False)
_REASON = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "The reason, in one line."}},
    "required": ["error"],
}
_REFUSALS = {
    400: "The body is empty, or the form is damaged.",
    401: "The bearer token is missing or wrong.",
    404: "There is no such model.",
    406: "The Accept header fits no answer.",
    408: "The request did not arrive in time.",
    413: "The body has too many bytes, or the image too many pixels.",
    415: "The content type is not taken, or the body is no image.",
    422: "A parameter is not possible, the image is damaged, or it does not fit the model or the format of the answer.",
    429: "The queue is full; Retry-After says when to try again.",
    500: "An error of the service; its log has the details.",
    503: "The thread of the models has ended.",
    504: "The image was not predicted in time.",
    507: "The service cannot store the image.",
}
_IMAGE = {"type": "string", "format": "binary"}
_BODY = {
    "required": True,
    "description": "The image, as the body itself or in the field image of a form. File names are ignored.",
    "content": {
        FORM: {"schema": {"type": "object", "properties": {"image": _IMAGE}, "required": ["image"]}},
        **{kind: {"schema": _IMAGE} for kind in RAW_KINDS},
    },
}
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "mask: a palette PNG of class values, as segnet predict writes it. overlay: the image with class colors "
            "and legend. json: class shares, COCO annotations in compressed run lengths, and categories."
        ),
        "content": {
            answer.media_type: {"schema": {"type": "object"} if answer.format == "json" else _IMAGE}
            for answer in ANSWERS
        },
    },
}


_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The metrics.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The description of answers that are no predictions."""
    content = {"application/json": {"schema": _REASON}}
    return {status: {"description": _REFUSALS[status], "content": content} for status in statuses}


def create_app(
    models: ModelSet, config: ServiceConfig = ServiceConfig(), style: OverlayStyle = OverlayStyle(), *, token: str = ""  # noqa: B008
) -> FastAPI:  # fmt: skip
    """The application, with its threads; they end with the lifespan of the application.

    Args:
        models: that predict; the first is the default.
        config: limits and origins.
        style: of overlays, and the colors of masks.
        token: that requests must carry; empty: none.
    """
    metrics = Metrics(waiting=lambda: service.batcher.waiting, accepted=lambda: service.admission.accepted)
    service = InferenceService(models, config, style, observe=metrics.add_batch)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="SegNet", summary="Semantic segmentation of images", lifespan=lifespan, docs_url=None, redoc_url=None,
        description="Semantic segmentation: the class of every pixel of an image.", redirect_slashes=False,
    )  # fmt: skip
    app.state.metrics, app.state.service = metrics, service
    guards = [Depends(_bearer(token))] if token else []
    _add_prediction(app, service, guards)
    _add_operation(app, service, metrics, guards)
    _add_refusals(app)
    if config.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(config.cors), allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["Retry-After", "X-Request-ID"],
        )  # fmt: skip
    return app


def observe_app(app: FastAPI) -> RequestLog:
    """The application with a log line and a count for each request."""
    paths = frozenset(path for route in app.routes if (path := getattr(route, "path", None)))
    return RequestLog(app, metrics=app.state.metrics, paths=paths)


def _bearer(token: str) -> Callable[..., None]:
    """A check of the Authorization header whose time does not depend on how much of the token is right."""

    def check(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        given = "" if credentials is None else credentials.credentials
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise RefusedError(HTTPStatus.UNAUTHORIZED, "send the header Authorization: Bearer TOKEN with the token")

    return check


def _add_prediction(app: FastAPI, service: InferenceService, guards: list[Any]) -> None:
    refusals = _refusals(*(status for status in _REFUSALS if status != 503 and (guards or status != 401)))

    @app.post(
        "/v1/segment", summary="Segment an image", response_class=Response, dependencies=guards,
        openapi_extra={"requestBody": _BODY}, responses=_ANSWERS | refusals,
    )  # fmt: skip
    async def segment(
        request: Request,
        model: Annotated[str | None, Query(description="Name of the model; /v1/models lists them.")] = None,
        format: Annotated[AnswerFormat | None, Query(description="What to send back.")] = None,  # noqa: A002
    ) -> Response:
        """Segment one image. Without ?format= the Accept header chooses; by default the answer is the mask."""
        _require_parameters(request, ("model", "format"))
        answer = choose_answer(format, request.headers.get("accept", ""))
        request.state.facts = {"model": model or service.models.names[0], "format": answer.format}
        body = await service.answer(request, model, answer)
        return Response(body, media_type=answer.media_type, headers={"Vary": "Accept"})

    @app.get(
        "/v1/models", summary="List the models", dependencies=guards, responses=_refusals(401) if guards else {}
    )  # fmt: skip
    async def list_models() -> dict[str, list[dict[str, Any]]]:
        """List the models with their classes: names, values in masks, and colors. The first is the default."""
        return {"models": service.models.describe()}


def _require_parameters(request: Request, known: tuple[str, ...]) -> None:
    """Refuse a parameter that would be ignored: a misspelled one, or one that is given twice."""
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known or given.count(name) > 1:
            fault = "is given twice" if name in known else "is unknown"
            raise RefusedError(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"the parameter {name[:60]!a} {fault}; give each of {', '.join(known)} once",
            )


def _add_operation(app: FastAPI, service: InferenceService, metrics: Metrics, guards: list[Any]) -> None:
    @app.head("/healthz", include_in_schema=False)  # some monitors ask without wanting a body
    @app.get("/healthz", summary="Whether the process answers")
    async def health() -> dict[str, str]:
        """Answer while the process runs; for a liveness probe."""
        return {"status": "ok"}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", summary="Whether images are predicted", responses=_refusals(503))
    async def ready() -> dict[str, str]:
        """Answer while models are loaded and run; for a readiness probe."""
        if not service.batcher.alive:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "the thread of the models has ended")
        return {"status": "ready"}

    @app.get(
        "/metrics", summary="Metrics for Prometheus", response_class=Response, dependencies=guards,
        responses=_TEXT | (_refusals(401) if guards else {}),
    )  # fmt: skip
    async def show_metrics() -> Response:
        """Counts and times of requests, sizes of batches, the queue, and the process, as text."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    @app.get("/docs", include_in_schema=False)
    async def describe(request: Request) -> HTMLResponse:
        """Describe the service on one page that needs nothing from elsewhere."""
        return HTMLResponse(render_api(app.openapi(), str(request.base_url).rstrip("/")))


def _add_refusals(app: FastAPI) -> None:
    """Every answer that is no success is JSON with the reason in one line."""

    def refuse(status: int, reason: str, headers: Any = None) -> JSONResponse:
        return JSONResponse({"error": " ".join(reason.split())}, status, headers)

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> JSONResponse:
        return refuse(error.status, error.reason, error.headers)

    @app.exception_handler(DisconnectedError)
    async def disconnected(request: Request, error: DisconnectedError) -> Response:
        return Response(status_code=499)  # nobody gets to see it

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        reasons = [f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()]
        return refuse(HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(reasons))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: HTTPException) -> JSONResponse:
        return refuse(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        return refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"an error of the service ({type(error).__name__})")

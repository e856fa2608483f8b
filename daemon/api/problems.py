"""Every error as application/problem+json (RFC 9457) with a stable code and a remedy; never a traceback, never a 200."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from adapters.sql.errors import StoreUnavailable
from machines.errors import LogUnavailable, Stale, StepError
from machines.problems import Problem, as_json, presentable

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
"""What a 503 tells the client to wait, in seconds."""


class ProblemDocument(BaseModel):
    """A refusal or an outage. Members beyond these depend on the code."""

    model_config = ConfigDict(extra="allow", title="Problem")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    remedy: str


def problem_response(problem: Problem, instance: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The problem as a response; `instance` is the path that was asked for."""
    document = {
        **problem.extra,
        "type": f"/errors#{problem.code}",
        "title": problem.code.replace("_", " ").capitalize(),
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        "remedy": problem.remedy,
    }
    more = dict(headers or {})
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        more.setdefault("Retry-After", str(RETRY_AFTER_S))
    return JSONResponse(document, problem.status, more, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Every exception that may leave a route, and how it is told."""
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    for outage in (StoreUnavailable, LogUnavailable, Stale, StepError):
        app.add_exception_handler(outage, _on_outage)


async def _on_problem(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem)
    return problem_response(error, request.url.path)


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return problem_response(invalid_request(error.errors()), request.url.path)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    """What the framework itself refuses: an unknown route, a method, a body that it could not read."""
    assert isinstance(error, HTTPException)
    code, detail, remedy = _FRAMEWORK.get(error.status_code, _OTHER)
    problem = Problem(error.status_code, code, detail.format(path=request.url.path, method=request.method), remedy)
    if code == "malformed":
        problem.extra["field"] = "body"
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework names the methods of the first route alone that has this path.
        headers["Allow"] = ", ".join(methods_at(request.app, request.url.path)) or headers.get("Allow", "GET")
    return problem_response(problem, request.url.path, headers)


def methods_at(app: FastAPI, path: str) -> list[str]:
    """All that the document names for the path."""
    paths: Mapping[str, Mapping[str, Any]] = app.openapi()["paths"]
    if path in paths:
        return sorted(method.upper() for method in paths[path])
    found = {method.upper() for template, methods in paths.items() if _fits(template, path) for method in methods}
    return sorted(found)


@cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(template)))


def _fits(template: str, path: str) -> bool:
    return _pattern(template).fullmatch(path) is not None


_FRAMEWORK = {
    400: ("malformed", "the body cannot be read", "send one JSON object in UTF-8"),
    404: ("unknown_route", "there is nothing at {path}", "see /openapi.json for what there is"),
    405: ("method_not_allowed", "{path} does not know {method}", "use a method that the header Allow names"),
}
_OTHER = ("refused", "the request was refused", "see /openapi.json for what is understood")


async def _on_outage(request: Request, error: Exception) -> JSONResponse:
    """Somebody whom we need is away. The request may be sent again: under its Idempotency-Key it happens once."""
    code, remedy = next(told for kind, told in _OUTAGES.items() if isinstance(error, kind))
    # Of the store's outage one line is enough, however often it is asked.
    tell = log.debug if isinstance(error, StoreUnavailable) else log.warning
    tell("request_unavailable", path=request.url.path, code=code, error=str(error))
    return problem_response(Problem(503, code, str(error), remedy), request.url.path)


_OUTAGES: dict[type[Exception], tuple[str, str]] = {
    StoreUnavailable: ("store_unavailable", "try again; if it lasts, look at the database: /readyz?verbose"),
    LogUnavailable: ("log_unavailable", "try again; if it lasts, look at the broker: /readyz?verbose"),
    Stale: ("busy", "try again: the machine was being changed at the same time"),
    StepError: ("provider_unavailable", "try again; if it lasts, look at the provider's status page"),
}


def unexpected(error: Exception, path: str) -> JSONResponse:
    """A bug of ours: told in the log with its traceback, and in the answer without."""
    log.error("request_crashed", path=path, exc_info=error)
    problem = Problem(500, "internal_error", "the daemon failed at this request", "report it with the daemon's log")
    return problem_response(problem, path)


def invalid_request(found: Sequence[Any]) -> Problem:
    """Everything that is wrong with the parameters, each with its field; 400, also where the framework says 422."""
    errors = [_fault(error) for error in found]
    first = errors[0]
    detail = "; ".join(f"{fault['field']}: {fault['detail']}" for fault in errors[:5])
    remedy = f"mend {first['field']}; /openapi.json says what it must be"
    code = "malformed" if found[0]["type"] == "json_invalid" else "invalid_parameter"
    return Problem(400, code, detail, remedy, {"field": first["field"], "errors": errors})


def _fault(error: Mapping[str, Any]) -> dict[str, Any]:
    where = [str(part) for part in error["loc"]]
    if error["type"] == "json_invalid":
        return {"field": "body", "detail": f"no JSON: {error.get('ctx', {}).get('error', error['msg'])}"}
    if where == ["body"] and isinstance(error.get("input"), bytes):
        return {"field": "body", "detail": "it must be a JSON object sent as Content-Type: application/json"}
    name = ".".join(where[1:]) or where[0]
    if error["type"] == "extra_forbidden":
        return {"field": name, "detail": "there is no such field"}
    is_no_cursor = name == "cursor" and error["type"] == "string_pattern_mismatch"
    text = "it must be the next_cursor of a page" if is_no_cursor else str(error["msg"])
    if error["type"] != "missing":
        text = f"{text} (found {as_json(presentable(name, error.get('input')))})"
    return {"field": name, "detail": text}

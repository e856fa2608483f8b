"""/openapi.json as the daemon really behaves: problems instead of the framework's 422, the token that is needed, the headers
that come, and which answer leads to which request."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from daemon.api.auth import API_PREFIX, METRICS_PATH
from daemon.api.parameters import MOST
from daemon.api.problems import MEDIA_TYPE, ProblemDocument

_METHODS = ("get", "put", "post", "delete", "patch")
_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")
_PROBLEM = {
    "description": "A problem (RFC 9457): `code` is stable, `remedy` says what mends it.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_REQUEST_ID = {
    "description": "Of this request, also in the log; the client's own where it sent one.",
    "schema": {"type": "string"},
}
_LOCATION = {"description": "Where it can be watched.", "schema": {"type": "string"}}
_RETRY_AFTER = {"description": "Seconds until it is worth asking again.", "schema": {"type": "string"}}
_OF_A_MACHINE = ("get_machine", "delete_machine", "explain", "active", "readiness", "status")
_OF_A_VOLUME = ("get_volume", "delete_volume")
_OF_A_FAILOVER = ("get_failover", "cancel")
_LEADS_TO: dict[str, dict[str, tuple[str, str, tuple[str, ...]]]] = {
    "put_machine": dict.fromkeys(("200", "201"), ("machine_id", "id", _OF_A_MACHINE)),
    "create": {"200": ("volume_id", "volume_id", _OF_A_VOLUME)},
    "execute": dict.fromkeys(("200", "202"), ("failover_id", "failover_id", _OF_A_FAILOVER)),
    "failover": dict.fromkeys(("200", "202"), ("failover_id", "failover_id", _OF_A_FAILOVER)),
}
"""By operation and status: which parameter of which operations a field of the answer fills."""


def operation_id(route: APIRoute) -> str:
    """The name of the function: short, and fit for generated clients."""
    return route.name


def install(app: FastAPI) -> None:
    """Replace the app's document, made once at the first request."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _corrected(get_openapi(title=app.title, version=app.version, routes=app.routes))
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _corrected(document: dict[str, Any]) -> dict[str, Any]:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in _FRAMEWORKS_OWN:
        schemas.pop(name, None)
    schemas["Problem"] = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if method in operations:
                _correct(operations[method], path.startswith(API_PREFIX) or path == METRICS_PATH)
    _make_exact(document)
    return document


def _make_exact(node: Any) -> None:
    """The framework's model of a document has floats for bounds, and the largest id is none."""
    if isinstance(node, dict):
        if node.get("maximum") == float(MOST):
            node["maximum"] = MOST
        for inner in node.values():
            _make_exact(inner)
    elif isinstance(node, list):
        for inner in node:
            _make_exact(inner)


def _correct(operation: dict[str, Any], is_guarded: bool) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    responses["default"] = dict(_PROBLEM)
    if is_guarded and operation.get("security") != []:  # A signature stands for the token there.
        operation["security"] = [{"token": []}]
    if "202" in responses:
        responses["202"]["headers"] = {"Location": _LOCATION, "Retry-After": _RETRY_AFTER}
    for response in responses.values():
        response.setdefault("headers", {})["X-Request-Id"] = _REQUEST_ID
    for status, (parameter, name, targets) in _LEADS_TO.get(operation["operationId"], {}).items():
        responses[status]["links"] = {target: _link(target, parameter, name) for target in targets}


def _link(target: str, parameter: str, name: str) -> dict[str, Any]:
    return {"operationId": target, "parameters": {parameter: f"$response.body#/{name}"}}

"""/openapi.json as the daemon really behaves: problems instead of the framework's 422, and the token that is needed."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from daemon.api.auth import API_PREFIX
from daemon.api.problems import MEDIA_TYPE, ProblemDocument

_METHODS = ("get", "put", "post", "delete", "patch")
_FRAMEWORKS_OWN = ("HTTPValidationError", "ValidationError")
_PROBLEM = {
    "description": "A problem (RFC 9457): `code` is stable, `remedy` says what mends it.",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


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
                _correct(operations[method], path.startswith(API_PREFIX))
    return document


def _correct(operation: dict[str, Any], is_guarded: bool) -> None:
    operation["responses"].pop("422", None)
    operation["responses"]["default"] = _PROBLEM
    if is_guarded:
        operation["security"] = [{"token": []}]

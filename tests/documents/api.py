"""Every route, from the OpenAPI document that the daemon serves."""

from __future__ import annotations

from typing import Any

from tests.documents.markdown import code, table, wrapped
from tests.test_api_stage import stage

METHODS = ("get", "post", "put", "patch", "delete")


async def page() -> str:
    async with stage() as s:
        document = (await s.http.get("/openapi.json")).json()
    schemas = document.get("components", {}).get("schemas", {})
    head = """
    The daemon serves its OpenAPI document at `/openapi.json`. Everything under `/api/v1` wants `Authorization: Bearer TOKEN`;
    errors are `application/problem+json` with the codes of [errors](errors.md).
    """
    parts = ["# HTTP API", wrapped(head), _overview(document["paths"])]
    for path, method, operation in _operations(document["paths"]):
        parts += _section(path, method, operation, schemas)
    return "\n\n".join(part for part in parts if part)


def _operations(paths: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, paths[path][method]) for path in sorted(paths) for method in METHODS if method in paths[path]
    ]


def _overview(paths: dict[str, Any]) -> str:
    rows = [(code(method.upper()), code(path), _first(operation)) for path, method, operation in _operations(paths)]
    return table(("method", "path", "what it does"), rows)


def _first(operation: dict[str, Any]) -> str:
    text = operation.get("description") or operation.get("summary") or ""
    return str(text).split("\n\n")[0]


def _section(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> list[str]:
    parts = [f"## {method.upper()} {path}", wrapped(operation.get("description") or operation.get("summary") or "")]
    parameters = operation.get("parameters", [])
    if parameters:
        rows = [
            (
                code(one["name"]),
                one["in"],
                _kind(one.get("schema", {})),
                _need(one.get("required", False)),
                one.get("description", ""),
            )
            for one in parameters
        ]
        parts.append(table(("parameter", "in", "type", "", "what it is"), rows))
    body = next(iter(operation.get("requestBody", {}).get("content", {}).values()), {}).get("schema")
    if body is not None:
        parts.append(_body(_resolved(body, schemas)))
    answers = [
        f"{status} {answer.get('description', '')}".strip() for status, answer in operation.get("responses", {}).items()
    ]
    parts.append("Answers: " + "; ".join(answers) + ".")
    return parts


def _body(schema: dict[str, Any]) -> str:
    wanted = set(schema.get("required", ()))
    fields = schema.get("properties", {})
    if not fields:
        return f"Body: {_kind(schema)}."
    rows = [
        (code(name), _kind(one), _need(name in wanted), _default(one), one.get("description", ""))
        for name, one in fields.items()
    ]
    return table(("field of the body", "type", "", "default", "what it is"), rows)


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return ", ".join(code(str(one)) for one in schema["enum"])
    if "const" in schema:
        return code(str(schema["const"]))
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if alternatives:
        return " or ".join(dict.fromkeys(_kind(one) for one in alternatives))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _need(required: bool) -> str:
    return "required" if required else ""


def _default(schema: dict[str, Any]) -> str:
    return "" if schema.get("default") is None else code(str(schema["default"]))

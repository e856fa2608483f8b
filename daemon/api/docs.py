"""/docs: the API's document as a page that can be tried out. Everything comes from this server; nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib import resources

from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

router = APIRouter(prefix="/docs", include_in_schema=False)

_KINDS = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon.png": "image/png",
}
_POLICY = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'"
"""A page that wanted anything from another server would not get it."""


@router.get("")
async def docs() -> HTMLResponse:
    """The page; a token is given to it by its button Authorize."""
    page = get_swagger_ui_html(
        openapi_url="/openapi.json",
        title="failoverd",
        swagger_js_url="/docs/swagger-ui-bundle.js",
        swagger_css_url="/docs/swagger-ui.css",
        swagger_favicon_url="/docs/favicon.png",
    )
    page.headers["Content-Security-Policy"] = _POLICY
    return page


@router.get("/{name}")
async def part(name: str) -> Response:
    """What the page is made of."""
    if name not in _KINDS:
        raise HTTPException(404)
    return Response(_read(name), headers={"Content-Type": _KINDS[name], "Cache-Control": "max-age=86400"})


@cache
def _read(name: str) -> bytes:
    return (resources.files("fastapi_offline") / "static" / name).read_bytes()

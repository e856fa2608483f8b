"""/errors: what each code means, open to everybody. A problem's `type` is the place of its code on this page."""

from __future__ import annotations

from functools import cache
from importlib import resources

from fastapi import APIRouter
from starlette.responses import HTMLResponse

router = APIRouter(include_in_schema=False)

_POLICY = "default-src 'none'"


@router.get("/errors")
async def errors() -> HTMLResponse:
    """The page as `make docs` wrote it from the code."""
    return HTMLResponse(_page(), headers={"Content-Security-Policy": _POLICY, "Cache-Control": "max-age=86400"})


@cache
def _page() -> str:
    return (resources.files("daemon.api") / "errors.html").read_text(encoding="utf-8")

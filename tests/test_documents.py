"""The documents are held to the code: the reference is what `make docs` would write, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from typer.main import get_command

from daemon.cli_app import app
from machines.problems import STATUS_OF
from tests.documents import errors, generate
from tests.test_api_stage import stage

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
WRITTEN = [path for path in (*PAGES, ROOT / "README.md") if path.parent != generate.FOLDER]


@pytest.mark.parametrize("name", generate.PAGES)
async def test_the_reference_is_what_the_code_says(name: str) -> None:
    path = generate.FOLDER / name
    assert path.exists(), f"{name} is missing: run `make docs`"
    assert path.read_text() == await generate.text(name), f"{name} is old: run `make docs`"


def test_nothing_lies_in_the_reference_that_is_not_written_from_code() -> None:
    assert {path.name for path in generate.FOLDER.iterdir()} == set(generate.PAGES)


@pytest.mark.parametrize("path", [*PAGES, ROOT / "README.md"], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_make_target_that_is_named_is_there(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", path.read_text(), re.MULTILINE):
        assert re.search(rf"^{target[0] or target[1]}:", makefile, re.MULTILINE), target


def test_every_page_is_in_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)", index.read_text())}
    assert [path for path in PAGES if path != index and path not in linked] == []


async def test_the_page_of_errors_has_every_code_with_a_status() -> None:
    page = await errors.page()
    assert [code for code in STATUS_OF if f"## {code}\n" not in page] == []


async def test_the_type_of_a_problem_is_a_place_on_the_page_that_the_daemon_serves() -> None:
    assert generate.SERVED.read_text(encoding="utf-8") == errors.as_html(), "errors.html is old: run `make docs`"
    async with stage() as s:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(s.app), base_url="http://daemon") as anybody:
            page = await anybody.get("/errors")
            refused = await anybody.get("/api/v1/machines")
        unknown = await s.http.get("/api/v1/machines/99")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for problem in (refused, unknown):
        path, _, code = problem.json()["type"].partition("#")
        assert path == "/errors"
        assert f'<h2 id="{code}">' in page.text


async def test_every_command_has_its_section() -> None:
    page = (generate.FOLDER / "cli.md").read_text()
    assert [name for name in get_command(app).commands if f"## failoverd {name}\n" not in page] == []

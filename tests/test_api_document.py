"""/openapi.json: it is OpenAPI 3.1, it names what comes, and its links lead somewhere; lists, methods and keys as it says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from daemon.api.pages import numbered, timed
from daemon.api.parameters import MOST
from tests.test_api_stage import Stage, stage


async def document(s: Stage) -> dict[str, Any]:
    found: dict[str, Any] = (await s.http.get("/openapi.json")).json()
    return found


def operations(told: dict[str, Any]) -> dict[str, Any]:
    return {one["operationId"]: one for methods in told["paths"].values() for one in methods.values()}


async def test_every_operation_has_a_name_of_its_own_and_says_what_it_answers() -> None:
    async with stage() as s:
        told = await document(s)
        assert told["openapi"].startswith("3.1")
        every = [one for methods in told["paths"].values() for one in methods.values()]
        assert len(operations(told)) == len(every)
        for one in every:
            assert "422" not in one["responses"], one["operationId"]
            assert "application/problem+json" in one["responses"]["default"]["content"]
            well = [answer for status, answer in one["responses"].items() if status.startswith("2")]
            assert well, one["operationId"]
            schemas = [body["schema"] for answer in well for body in answer["content"].values()]
            assert all(schemas), f"{one['operationId']} does not say what it answers"


async def test_every_whole_number_of_a_path_or_a_query_is_told_its_bounds() -> None:
    async with stage() as s:
        for name, one in operations(await document(s)).items():
            for parameter in one.get("parameters", ()):
                schemas = parameter["schema"].get("anyOf", [parameter["schema"]])
                for schema in schemas:
                    if schema.get("type") == "integer":
                        where = f"{parameter['name']} of {name}: bounds behind the validator are not told"
                        assert {"minimum", "maximum"} <= set(schema), where
                        assert schema["maximum"] <= MOST


async def test_every_link_leads_to_an_operation_by_a_parameter_that_it_has() -> None:
    async with stage() as s:
        told = await document(s)
        found, links = operations(told), 0
        for one in found.values():
            for answer in one["responses"].values():
                for link in answer.get("links", {}).values():
                    target = found[link["operationId"]]
                    named = {parameter["name"] for parameter in target["parameters"]}
                    assert set(link["parameters"]) <= named
                    links += 1
        assert links >= 20


async def test_a_method_that_is_not_known_is_told_all_that_are() -> None:
    async with stage() as s:
        for method, path, allowed in (
            ("PATCH", "/api/v1/machines/7", "DELETE, GET, PUT"),
            ("GET", "/api/v1/pause", "POST"),
            ("POST", "/api/v1/failover/regional-volume/7", "DELETE, GET"),
            ("DELETE", "/livez", "GET"),
        ):
            answer = await s.http.request(method, path)
            assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path
            assert answer.json()["code"] == "method_not_allowed"


async def test_rows_are_paged_by_a_cursor_and_a_link() -> None:
    async with stage() as s:
        now = s.clock.now()
        for key in ("a", "b", "c"):
            await s.store.transact(lambda tx, key=key: tx.raise_alert(key, f"{key} is wrong", now))
        seen, path, pages = [], "/api/v1/alerts?limit=2", 0
        while path:
            answer = await s.http.get(path)
            body = answer.json()
            assert body["count"] == 3
            seen += [row["key"] for row in body["alerts"]]
            path, pages = answer.links.get("next", {}).get("url", ""), pages + 1
            assert bool(path) == (body["next_cursor"] is not None)
        assert (seen, pages) == (["a", "b", "c"], 2)
        for name in ("debts", "orphans", "costs", "failover/regional-volume/list"):
            one = await s.http.get(f"/api/v1/{name}?limit=1")
            assert one.json()["next_cursor"] is None, name
            assert (await s.http.get(f"/api/v1/{name}?limit=0")).json()["field"] == "limit"


@pytest.mark.parametrize(
    ("path", "others"),
    [
        ("alerts", ["9999-99-99T00:00:00+00:00 a", "2026-11-28T12:00:00+00:00"]),
        ("debts", ["7", "-0000000000000000007", "000000000000000000007"]),
        ("costs", ["7"]),
        ("orphans", ["host 7", "vm"]),
        ("failover/regional-volume/list", ["7"]),
        ("machines/123/snapshots", ["00000000000000000007"]),
    ],
)
async def test_what_is_no_place_of_a_list_is_refused_as_its_cursor(path: str, others: list[str]) -> None:
    async with stage() as s:
        await s.machine()
        for cursor in ("x", "", "zzz", "\u0660" * 20, *others):
            answer = await s.http.get(f"/api/v1/{path}", params={"cursor": cursor})
            assert (answer.status_code, answer.json().get("field")) == (400, "cursor"), cursor
            assert "next_cursor of a page" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("alerts", timed(datetime(2026, 11, 28, 12, 0, 0, 1, UTC), "machine-7")),
        ("alerts", timed(datetime(2026, 11, 28, 12, 0, tzinfo=timezone(timedelta(hours=1))), "a b")),
        ("debts", numbered(7)),
        ("costs", numbered(7)),
        ("orphans", "vm europe-west4-a/vm-7"),
        ("failover/regional-volume/list", numbered(7)),
        ("machines/123/snapshots", timed(datetime(2026, 11, 28, tzinfo=UTC), "abc")),
    ],
)
async def test_a_place_of_a_list_is_taken_though_its_row_is_gone(path: str, place: str) -> None:
    async with stage() as s:
        await s.machine()
        assert (await s.http.get(f"/api/v1/{path}", params={"cursor": place})).status_code == 200


async def test_one_key_pauses_once_however_often_and_whenever_it_is_sent() -> None:
    async with stage() as s:
        body, key = {"minutes": 10, "reason": "works"}, {"Idempotency-Key": "k1"}
        first = await s.http.post("/api/v1/pause", json=body, headers=key)
        await s.clock.advance(60)
        again = await s.http.post("/api/v1/pause", json=body, headers=key)
        assert first.json() == again.json()
        other = await s.http.post("/api/v1/pause", json={**body, "reason": "other"}, headers=key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

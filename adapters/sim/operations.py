"""The operations of Vast's REST API: which request means which act upon the world (facts/vast-api.md, tables)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adapters.sim import account as keys
from adapters.sim.answers import Answer, failure, no_such_instance
from adapters.sim.charges import show_charges
from adapters.sim.hosts import GPU_KINDS
from adapters.sim.instances import Instance
from adapters.sim.logs import PATH as LOGS
from adapters.sim.pages import named_in, page_of
from adapters.sim.world import World

DEPRECATED = "/api/v0/instances/ is deprecated. Use /api/v1/instances/ instead."


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read: who asks is already settled."""

    world: World
    now: datetime
    id: int
    """The number in the path, 0 where the path has none."""
    key_id: int
    query: Mapping[str, str]
    body: Any
    origin: str = ""
    """Where this API is reached, without a path."""


Act = Callable[[Call], Answer]


@dataclass(frozen=True, slots=True)
class Operation:
    name: str
    method: str
    path: str
    act: Act
    needs_key: bool = True


def _object(call: Call) -> Mapping[str, Any]:
    return call.body if isinstance(call.body, Mapping) else {}


def _query_offers(call: Call) -> Answer:
    """`GET /bundles/?q=<json>`: the same search with the query as text."""
    try:
        query = json.loads(call.query.get("q") or "{}")
    except ValueError:
        return failure(400, "invalid_args", "Invalid json body")
    return call.world.market.search(call.now, query)


def _search_asks(call: Call) -> Answer:
    return call.world.market.search(call.now, _object(call).get("q"))


def _show_filters(call: Call) -> Answer:
    columns = ("actual_status", "gpu_name", "verification")
    combinations = {tuple(row[column] for column in columns) for row in call.world.rentals.rows(call.now)}
    return Answer({"filters": [dict(zip(columns, each, strict=True)) for each in sorted(combinations, key=str)]})


def _of_instance(act: Callable[[Instance, Call], Answer]) -> Act:
    def run(call: Call) -> Answer:
        instance = call.world.instances.get(call.id)
        return no_such_instance(call.id) if instance is None else act(instance, call)

    return run


def _delete_volume(call: Call) -> Answer:
    """The CLI puts the id into the query, the documentation into the body."""
    return call.world.volumes.delete(call.now, call.query.get("id") or _object(call).get("id"))


def _gpu_names(_call: Call) -> Answer:
    return Answer({"gpu_names": sorted({kind.name for kind in GPU_KINDS})})


def _list_instances(call: Call) -> Answer:
    """Where the query names its rentals, only those rows are made: in a world of thousands the rest costs too much."""
    named = named_in(call.query)
    return page_of(call.world.rentals.rows(call.now, named), call.query)


_OFFERS = (
    Operation("search_offers", "POST", "/api/v0/bundles", lambda c: c.world.market.search(c.now, c.body)),
    Operation("query_offers", "GET", "/api/v0/bundles", _query_offers),
    Operation("search_asks", "PUT", "/api/v0/search/asks", _search_asks),
    Operation("recommend_bid", "PUT", "/api/v0/bundles_bid_price/{id}", lambda c: c.world.market.recommend_bid(c.id)),
    Operation("gpu_names", "GET", "/api/v0/gpu_names/unique", _gpu_names, needs_key=False),
)
_INSTANCES = (
    Operation("create_instance", "PUT", "/api/v0/asks/{id}", lambda c: c.world.rentals.create(c.now, c.id, _object(c))),
    Operation("list_instances", "GET", "/api/v1/instances", _list_instances),
    Operation("old_list", "GET", "/api/v0/instances", lambda _c: failure(410, "deprecated_endpoint", DEPRECATED)),
    Operation("show_filters", "GET", "/api/v0/instances/filters", _show_filters),
    Operation(
        "reboot_instance",
        "PUT",
        "/api/v0/instances/reboot/{id}",
        lambda c: c.world.rentals.restart(c.now, c.id, "rebooting"),
    ),
    Operation(
        "recycle_instance",
        "PUT",
        "/api/v0/instances/recycle/{id}",
        lambda c: c.world.rentals.restart(c.now, c.id, "recycling"),
    ),
    Operation(
        "change_bid",
        "PUT",
        "/api/v0/instances/bid_price/{id}",
        lambda c: c.world.rentals.change_bid(c.now, c.id, _object(c).get("price")),
    ),
    Operation(
        "request_logs",
        "PUT",
        "/api/v0/instances/request_logs/{id}",
        _of_instance(lambda instance, call: call.world.logs.request(instance, _object(call), call.origin, call.now)),
    ),
    Operation("read_log", "GET", f"{LOGS}/{{id}}", lambda c: c.world.logs.show(c.id, c.now), needs_key=False),
    Operation("change_instances", "PUT", "/api/v0/instances", lambda c: c.world.rentals.change_many(c.now, _object(c))),
    Operation(
        "destroy_instances",
        "DELETE",
        "/api/v0/instances",
        lambda c: c.world.rentals.destroy_many(c.now, _object(c).get("instance_ids")),
    ),
    Operation("show_instance", "GET", "/api/v0/instances/{id}", lambda c: c.world.rentals.show(c.now, c.id)),
    Operation(
        "change_instance", "PUT", "/api/v0/instances/{id}", lambda c: c.world.rentals.change(c.now, c.id, _object(c))
    ),
    Operation("destroy_instance", "DELETE", "/api/v0/instances/{id}", lambda c: c.world.rentals.destroy(c.now, c.id)),
)
_VOLUMES = (
    Operation(
        "search_volumes",
        "POST",
        "/api/v0/volumes/search",
        lambda c: c.world.market.search_volumes(c.now, c.body, c.world.volumes.free_gb),
    ),
    Operation("create_volume", "PUT", "/api/v0/volumes", lambda c: c.world.volumes.create(c.now, _object(c))),
    Operation("list_volumes", "GET", "/api/v0/volumes", lambda c: c.world.volumes.show_all(c.now, c.query.get("type"))),
    Operation("delete_volume", "DELETE", "/api/v0/volumes", _delete_volume),
    Operation("clone_volume", "POST", "/api/v0/volumes/copy", lambda c: c.world.volumes.clone(c.now, _object(c))),
)
_ACCOUNT = (
    Operation("show_user", "GET", "/api/v0/users/current", lambda c: c.world.account.current(c.now)),
    Operation("list_charges", "GET", "/api/v0/charges", lambda c: show_charges(c.world.ledger, c.query, c.now)),
    Operation("spend_rate", "GET", "/api/v0/users/spend-rate", lambda c: c.world.account.spend_rate()),
    Operation("list_keys", "GET", "/api/v0/ssh", lambda c: c.world.account.list_keys()),
    Operation("add_key", "POST", "/api/v0/ssh", lambda c: c.world.account.add_key(_object(c))),
    Operation("change_key", "PUT", "/api/v0/ssh/{id}", lambda c: c.world.account.change_key(c.id, _object(c))),
    Operation("delete_key", "DELETE", "/api/v0/ssh/{id}", lambda c: c.world.account.delete_key(c.id)),
    Operation(
        "list_instance_keys",
        "GET",
        "/api/v0/instances/{id}/ssh",
        _of_instance(lambda instance, _call: keys.list_instance_keys(instance)),
    ),
    Operation(
        "attach_key",
        "POST",
        "/api/v0/instances/{id}/ssh",
        _of_instance(lambda instance, call: keys.attach_key(instance, _object(call))),
    ),
    Operation(
        "detach_key",
        "DELETE",
        "/api/v0/instances/{id}/ssh/{key_id}",
        _of_instance(lambda instance, call: keys.detach_key(instance, call.key_id)),
    ),
)
_WEBHOOKS = (
    Operation("list_webhooks", "GET", "/api/v0/webhooks", lambda c: c.world.webhooks.show_all()),
    Operation("create_webhook", "POST", "/api/v0/webhooks", lambda c: c.world.webhooks.create(c.now, _object(c))),
    Operation("change_webhook", "PUT", "/api/v0/webhooks/{id}", lambda c: c.world.webhooks.change(c.id, _object(c))),
    Operation("delete_webhook", "DELETE", "/api/v0/webhooks/{id}", lambda c: c.world.webhooks.delete(c.id)),
    Operation("rotate_webhook", "POST", "/api/v0/webhooks/{id}/rotate-secret", lambda c: c.world.webhooks.rotate(c.id)),
    Operation("test_webhook", "POST", "/api/v0/webhooks/{id}/test", lambda c: c.world.webhooks.test(c.now, c.id)),
)
OPERATIONS = (*_OFFERS, *_INSTANCES, *_VOLUMES, *_ACCOUNT, *_WEBHOOKS)

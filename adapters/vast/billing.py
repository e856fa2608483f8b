"""VastBilling: the port Billing over the account's charges, asked for as the official client does (vastai 1.9.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from adapters.vast.client import VastApi
from adapters.vast.replies import Kind, Reply
from adapters.vast.rows import number
from adapters.vast.settings import CHARGES
from machines.charges import Bill, Charge, Charged, span_of
from machines.errors import Unknown

_PAGE, _MOST_PAGES = 100, 1000
_SOURCE = re.compile(r"(instance|volume)-(\d+)")


class VastBilling:
    def __init__(self, api: VastApi) -> None:
        self._api = api

    async def bill(self, month: str) -> Bill:
        """Page after page; a page that cannot be read makes the whole bill unknown."""
        start, end = span_of(month)
        days = {"gte": int(start.timestamp()), "lte": int(end.timestamp()) - 1}
        filters = {"day": days, "type": {"in": [one.value for one in Charged]}}
        asked = {"select_filters": json.dumps(filters), "latest_first": "false", "limit": str(_PAGE), "format": "table"}
        found: dict[tuple[Charged, int], float] = {}
        rows, token = 0, None
        for _ in range(_MOST_PAGES):
            reply = await self._api.call(CHARGES, query=asked | ({"after_token": token} if token else {}))
            for charge in _charges_in(reply):
                place = (charge.what, charge.id)
                found[place] = found.get(place, 0.0) + charge.amount
                rows += 1
            following = reply.fields.get("next_token")
            if not following:
                _check_count(rows, reply)
                return Bill(month, tuple(Charge(what, id_, amount) for (what, id_), amount in found.items()))
            if not isinstance(following, str) or following == token:
                raise Unknown(f"the charges of {month} go on under no token that we can use: {reply}")
            token = following
        raise Unknown(f"the charges of {month} do not end after {_MOST_PAGES} pages")


def _check_count(rows: int, reply: Reply) -> None:
    """Raise Unknown where the provider says that there are more."""
    total = number(reply.fields, "total")
    if total is not None and total != rows:
        raise Unknown(f"{rows} charges came, the provider says that there are {total:.0f}")


def _charges_in(reply: Reply) -> Iterator[Charge]:
    """Raise Unknown."""
    rows = reply.fields.get("results")
    if reply.kind is not Kind.OK or not isinstance(rows, list):
        raise Unknown(f"the account's charges were not shown: {reply}")
    for row in rows:
        source = _SOURCE.fullmatch(str(row.get("source"))) if isinstance(row, Mapping) else None
        amount = number(row, "amount") if isinstance(row, Mapping) else None
        if source is None or amount is None:
            raise Unknown(f"a charge is shown in a form that we cannot read: {str(row)[:200]}")
        yield Charge(Charged(source[1]), int(source[2]), amount)

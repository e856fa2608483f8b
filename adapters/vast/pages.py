"""The pages of one list of rentals, and whether they add up (facts/vast-api.md, 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from adapters.vast.replies import Kind, Reply
from adapters.vast.rows import BadRow, instance_from
from machines.errors import Unknown
from machines.model import Instance, InstanceId


@dataclass(slots=True)
class Scan:
    """The pages so far."""

    rows: dict[InstanceId, Instance] = field(default_factory=dict)
    totals: list[int] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    token: str | None = None
    pages: int = 0
    is_open: bool = True
    is_sound: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    """How many rentals bear a label, as the provider says."""

    def add(self, reply: Reply) -> None:
        """Raise Unknown where the reply is no page at all."""
        page = reply.fields
        rows = page.get("instances")
        if reply.kind is not Kind.OK or not isinstance(rows, list):
            raise Unknown(f"the list of instances was not answered: {reply}")
        self.pages += 1
        self.is_sound &= page.get("success") is True and page.get("instances_found") == len(rows)
        total = page.get("total_instances")
        if isinstance(total, int) and not isinstance(total, bool):
            self.totals.append(total)
        counts = page.get("label_counts")
        if isinstance(counts, Mapping):
            self.counts.update({name: n for name, n in counts.items() if isinstance(name, str) and isinstance(n, int)})
        for row in rows:
            self._add_row(row)
        self._turn(page.get("next_token"))

    @property
    def is_complete(self) -> bool:
        """The rows are as many as the provider counts. While we turned the pages a rental may have come (it is on the
        last page, for ids rise) or gone, so the number may also lie between the last count and the highest one."""
        if self.is_open or not self.is_sound or len(self.totals) != self.pages:
            return False
        return self.totals[-1] <= len(self.rows) <= max(self.totals)

    def _add_row(self, row: object) -> None:
        try:
            instance = instance_from(row)
        except BadRow:
            self.is_sound = False
            return
        self.is_sound &= instance.id not in self.rows
        self.rows[instance.id] = instance

    def _turn(self, token: object) -> None:
        """To the next page; a token that comes twice would lead us in a circle."""
        if token is None or token == "":
            self.is_open = False
        elif isinstance(token, str) and token not in self.tokens:
            self.tokens.add(token)
            self.token = token
        else:
            self.is_open = self.is_sound = False

"""What was said of the whole fleet's settings, in a transaction: a row for each setting that was said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select

from adapters.sql.statements import Statements
from adapters.sql.tables import FLEET_SETTINGS
from machines.policy import Said, SettingValue

_c = FLEET_SETTINGS.c
_ALL = select(_c.name, _c.value).order_by(_c.name)
_NEW = insert(FLEET_SETTINGS)
_DROP = delete(FLEET_SETTINGS).where(_c.name == bindparam("wanted"))


class SettingsStatements(Statements):
    def fleet_settings(self) -> Said:
        return {row.name: row.value for row in self._connection.execute(_ALL)}

    def say_fleet_settings(self, said: Mapping[str, SettingValue | None], by: str, at: datetime) -> None:
        """None takes back what was said. After `lock_admission`: two that say something at a time say it in turn."""
        for name, value in said.items():
            self._connection.execute(_DROP, {"wanted": name})
            if value is not None:
                self._connection.execute(_NEW, {"name": name, "value": value, "said_by": by, "said_at": at})

"""What may be said of a machine, by API, command or configuration, and how it is checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from daemon.cpu_wishes import CpuStandbyWish
from daemon.market_fields import Region
from daemon.pool_wishes import WarmPoolWish
from machines import public_keys, workspace
from machines.model import (
    Machine,
)
from machines.problems import Problem, invalid, presentable, unfit

Folder = Annotated[str, AfterValidator(workspace.normalised), Field(max_length=workspace.LONGEST)]
"""An absolute path that is not the system's own, in its shortest form."""


PublicKey = Annotated[str, AfterValidator(public_keys.normalised), Field(max_length=8192)]
"""One line of an authorized_keys file, without options."""


def _unmistakable(name: str) -> str:
    """Wherever a machine is named, its id may stand, or a failover's, or `last`. Raise ValueError."""
    if not name.isprintable():
        fault = ValueError("it holds a control character, or a line's end")
        fault.wanted = "a name of one line, in letters that can be printed"  # type: ignore[attr-defined]
        raise fault
    if name.isdecimal() or name.startswith("fo_") or name == "last":
        fault = ValueError("it can be mistaken for a machine's id, or for a failover")
        fault.wanted = "a name that is no number, does not begin with fo_ and is not `last`"  # type: ignore[attr-defined]
        raise fault
    return name


MachineNamed = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_unmistakable)]
ADDRESS = r"^[^\s\x00-\x1f\x7f-\x9f]+$"
"""A host's name or number: it goes into files that ssh reads, in which a line's end begins another setting."""
EnvName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=256)]


_LOGIN = r"^(-u \S+ -p \S+|-p \S+ -u \S+) \S+$"


def _login(text: str) -> str:
    if re.fullmatch(_LOGIN, text) is None:
        raise PydanticCustomError("login", "Input should be `-u USER -p TOKEN HOST`")
    return text


ImageLogin = Annotated[str, AfterValidator(_login), Field(max_length=1024, json_schema_extra={"pattern": _LOGIN})]


class Registration(BaseModel):
    """What an operator may say of a machine. A field that is not named keeps its value."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: MachineNamed | None = None
    gpu_instance_id: int | None = Field(None, gt=0)
    strategy: str | None = None
    auto_failover: str | None = None
    priority: int | None = Field(None, ge=-1000, le=1000)
    ssh_host: str | None = Field(None, pattern=ADDRESS, min_length=1, max_length=255)
    ssh_port: int | None = Field(None, ge=1, le=65535)
    workspace_path: Folder | None = None
    interval_s: float | None = Field(None, ge=0.05, le=86400)
    image: str | None = Field(None, pattern=r"^\S+$", max_length=1024)
    disk_gb: float | None = Field(None, ge=8, le=100000)
    gpu_name: str | None = Field(None, min_length=1, max_length=64)
    num_gpus: int | None = Field(None, ge=1, le=64)
    max_price: float | None = Field(None, gt=0, le=1000)
    region: Region | None = None
    env: dict[EnvName, str] | None = None
    onstart: str | None = Field(None, max_length=4096)
    image_login: ImageLogin | None = None
    """For a private registry of images: `-u USER -p TOKEN HOST`. Never shown again."""
    ssh_keys: list[PublicKey] | None = Field(None, max_length=100)
    """Public keys that a replacement lets in, beside those of the provider's account."""
    volume_id: int | None = Field(None, gt=0)
    """The volume on which the workspace lies, mounted by the instance; a warm pool needs one. null: it lies on none."""
    volume_path: Folder | None = None
    """Where the volume is mounted; the workspace path where it is not named."""
    standby_gpu_instance_id: int | None = Field(None, gt=0)
    """A rental on the primary's host with the same volume, stopped: the warm pool's standby. It may be destroyed, and is
    where the machine gets another volume or host without it being named anew."""
    cpu_standby: CpuStandbyWish | None = None
    """A VM that is made for the machine; null deletes it."""
    policy: dict[str, int | float | None] | None = None
    """Settings of the fleet's policy that are this machine's own (`GET /failover/settings/{machine_id}`); null takes one
    back."""
    warm_pool: WarmPoolWish | None = None
    """What is rented ahead for the machine, and costs money; null destroys what it does not use yet."""


_OF_THE_PRIMARY = ("gpu_instance_id", "ssh_host", "ssh_port")
_OF_THE_DATA = ("volume_id", "volume_path", "standby_gpu_instance_id")


def news_of(body: Mapping[str, Any], known: Machine | None) -> dict[str, Any]:
    """What the configuration says that the daemon does not know better: a failover moves a machine, perhaps off its volume,
    which is then owed its deletion."""
    learned = _OF_THE_PRIMARY if known is not None and known.primary is not None else ()
    moved = _OF_THE_DATA if known is not None and known.last_failover is not None else ()
    said = known.own.said if known is not None else ()  # Since then, by a person or a program.
    news = {name: value for name, value in body.items() if name not in (*learned, *moved, *said)}
    if "policy" in news:
        news["policy"] = {name: value for name, value in (news["policy"] or {}).items() if name not in said}
    return news


def parse(body: Mapping[str, Any]) -> Registration:
    """Strict. Raise Problem that names the field."""
    try:
        return Registration.model_validate(dict(body))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        found = presentable(where, first.get("input"))
        if first["type"] == "value_error":
            fault = first["ctx"]["error"]
            raise unfit(where, found, str(fault), getattr(fault, "wanted", workspace.WANTED)) from None
        if first["type"] == "extra_forbidden":
            inner = {"cpu_standby": CpuStandbyWish.model_fields, "warm_pool": WarmPoolWish.model_fields}
            fields = (
                inner.get(where.partition(".")[0], Registration.model_fields)
                if "." in where
                else Registration.model_fields
            )
            known = ", ".join(sorted(fields))
            problem = Problem(400, "invalid_parameter", f"{where}: there is no such field", f"known are {known}")
            problem.extra["field"] = where
            raise problem from None
        raise invalid(where, found, first["msg"].removeprefix("Input should be ")) from None

"""Settings of the snapshots: where they are kept, how often they are taken, and what each kind of place needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr, model_validator

from daemon.setting_faults import wrong
from daemon.setting_kinds import HttpUrl, Number, Section, Whole, bucket_name, name_prefix


class Snapshots(Section):
    """Where the verified snapshots of workspaces are kept, and how often they are taken. `world`: the simulated world's own
    keeper; `s3`: a bucket over the S3 protocol (AWS, R2, MinIO); `b2`: a bucket of Backblaze's; `path`: a folder that is
    mounted at the same place on the machines and here."""

    kind: Literal["world", "s3", "b2", "path"] = "world"
    url: HttpUrl | None = None
    """Of the simulated world; None is the provider's URL."""
    bucket: Annotated[str, AfterValidator(bucket_name)] | None = Field(None, examples=["my-snapshots"])
    prefix: Annotated[str, AfterValidator(name_prefix)] = "failoverd"
    """Everything of this deployment lies below it."""
    endpoint: HttpUrl | None = None
    """Of the S3 protocol; None is AWS's, or the one that Backblaze names."""
    region: str = Field(
        "us-east-1", min_length=1, max_length=64, pattern=r"^[a-z0-9-]+$", description="a region's name"
    )
    path_style: bool = True
    """The bucket stands in the path; false puts it before the host's name."""
    access_key_id: str | None = Field(None, min_length=1, max_length=200)
    secret_access_key: SecretStr | None = None
    """With `b2` the id and the key of an application key that may make others: each instance is given its own."""
    read_access_key_id: str | None = Field(None, min_length=1, max_length=200)
    read_secret_access_key: SecretStr | None = None
    """With `s3` a key that only reads, for replacements; else the same one."""
    realm: HttpUrl | None = None
    """Of B2's own protocol; None is Backblaze's."""
    folder: Path | None = Field(None, examples=["/mnt/snapshots"])
    password: SecretStr | None = None
    """All repositories are encrypted under keys that follow from it: without it no snapshot can be read."""
    every_s: Number = Field(3600.0, ge=10, le=2_592_000)
    limit_s: Number = Field(10_800.0, ge=10, le=604_800)
    """One that takes longer is given up."""
    keep: Whole = Field(24, ge=1, le=10_000)
    """How many of each machine."""
    install: str = (
        "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends restic"
    )
    """Run on a machine where restic is missing."""
    delete_after_s: Number | None = Field(None, ge=0, le=315_360_000)
    """So long after a machine was removed its snapshots go; without it they are kept, and told of."""

    @model_validator(mode="after")
    def _has_what_its_kind_needs(self) -> Snapshots:
        for name in _SNAPSHOTS_NEED[self.kind]:
            if getattr(self, name) is None:
                raise wrong(f"is missing: kind {self.kind} needs it", _SNAPSHOT_REMEDIES[name], name)
        known = {"kind", *_SNAPSHOTS_TAKE[self.kind]}
        for name in sorted(self.model_fields_set - known):
            text = f"means nothing to kind {self.kind}"
            raise wrong(text, f"leave it out; kind {self.kind} takes {', '.join(sorted(known))}", name)
        if (self.read_access_key_id is None) != (self.read_secret_access_key is None):
            raise wrong("needs read_secret_access_key, and the reverse", "give both, or neither", "read_access_key_id")
        if self.folder is not None and not self.folder.is_absolute():
            raise wrong("must be an absolute path", "write it like /mnt/snapshots", "folder")
        return self


_RHYTHM = ("password", "prefix", "every_s", "limit_s", "keep", "install", "delete_after_s")
_KEYED = ("bucket", "access_key_id", "secret_access_key")
_SNAPSHOTS_NEED: Mapping[str, tuple[str, ...]] = {
    "world": (),
    "s3": (*_KEYED, "password"),
    "b2": (*_KEYED, "password"),
    "path": ("folder", "password"),
}
_SNAPSHOTS_TAKE: Mapping[str, tuple[str, ...]] = {
    "world": ("url",),
    "s3": (*_KEYED, "endpoint", "region", "path_style", "read_access_key_id", "read_secret_access_key", *_RHYTHM),
    "b2": (*_KEYED, "endpoint", "region", "path_style", "realm", *_RHYTHM),
    "path": ("folder", *_RHYTHM),
}
_SNAPSHOT_REMEDIES: Mapping[str, str] = {
    "bucket": "add it: `bucket: my-snapshots`",
    "access_key_id": "add the key's id, as the provider shows it",
    "secret_access_key": "add it, or set FAILOVERD_SNAPSHOTS__SECRET_ACCESS_KEY",
    "password": "give a long random text, and keep a copy of it elsewhere: without it no snapshot can be read",
    "folder": "add it: `folder: /mnt/snapshots`",
}

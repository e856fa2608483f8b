"""The store of objects that a place describes. Its client is imported here, where one is used: it is large."""

from __future__ import annotations

from pathlib import Path

from machines.ports import Clock, ObjectStore
from machines.snapshots import Place


def objects_at(place: Place, clock: Clock) -> ObjectStore:
    if place.kind == "path":
        from adapters.folder import FolderObjects

        return FolderObjects(Path(place.folder), place.prefix)
    from adapters.s3 import S3Objects, S3Place

    where = S3Place(
        place.bucket, place.key_id, place.secret, place.endpoint, place.region, place.path_style, place.prefix
    )
    return S3Objects(where, clock)

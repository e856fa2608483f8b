"""What the doctor looks at here: the settings, the folder, the database, the broker, the snapshots, SSH, the channels."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from adapters.kafka import KafkaLog
from adapters.sql.errors import MEND_IT, StoreDamaged, StoreUnavailable
from adapters.sql.migration import HEAD, REVISIONS, check, current
from adapters.sql.urls import missing_file
from adapters.ssh import AsyncsshShell, KeyUnusable, load_or_create_key
from adapters.system_clock import SystemClock
from daemon.doctor import UNREACHABLE, USAGE, Check, Finding, failed, ok, skipped, unwise
from daemon.doctor_providers import check_gce, check_vast
from daemon.notify_wiring import unusable
from daemon.setting_parts import endpoints, event_log
from daemon.setting_refusals import open_door, unwritable
from daemon.setting_traps import is_near, traps
from daemon.settings import Loaded, Settings
from daemon.snapshot_wiring import objects_and_ways
from events import topics
from machines.errors import LogUnavailable, NotYet
from machines.ports import Reach

_LEAST_FREE_MB = 200
_TRIAL = "doctor-trial"


async def check_settings(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    wrong = [
        failed("settings", f"{one.where}: {one.name}: {one.wrong}", one.remedy, USAGE) for one in open_door(loaded)
    ]
    wise = [unwise("settings", f"{one.where}: {one.name} {one.wrong}", one.remedy) for one in traps(loaded)]
    return [*wrong, *wise] or [ok("settings", "no fault, and nothing unwise")]


async def check_state_dir(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    name, path = "state_dir", loaded.settings.state_dir
    if (why := unwritable(path)) is not None:
        return [failed(name, why, "name a folder that the daemon's user may write")]
    there = next(one for one in (path, *path.absolute().parents) if one.exists())
    free_mb = shutil.disk_usage(there).free // 1_000_000
    if free_mb < _LEAST_FREE_MB:
        return [failed(name, f"{there} has {free_mb} MB free", f"free {_LEAST_FREE_MB} MB or more")]
    secret = ("token", "ssh_key", "failoverd.db")
    open_ones = [one for one in secret if (path / one).exists() and (path / one).stat().st_mode & 0o077]
    if open_ones:
        files = " ".join(str(path / one) for one in open_ones)
        return [failed(name, f"others can read {files}", f"chmod 600 {files}, and give out a new one")]
    return [ok(name, f"{path} {'can be written' if there == path else 'can be made'}, {free_mb} MB are free")]


async def check_database(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    name, url = "database", loaded.settings.database_url
    if (file := missing_file(url)) is not None:
        return [ok(name, f"{file} is not there yet: it is made at the first start")]
    try:
        await asyncio.to_thread(check, url)
        revision = await asyncio.to_thread(current, url)
    except StoreDamaged as error:
        return [failed(name, " ".join(str(error).split()), MEND_IT)]
    except StoreUnavailable as error:
        remedy = "start the server, or mend `database`: its host, name, user and password"
        return [failed(name, " ".join(str(error).split()), remedy, UNREACHABLE)]
    if revision is None:
        return [ok(name, "it answers, and is empty: its tables are made at the first start")]
    if revision not in REVISIONS:
        return [failed(name, f"it is at revision {revision}, this program knows {HEAD}", "run the newer failoverd")]
    if revision != HEAD:
        return [
            unwise(name, f"it is at revision {revision}, this program wants {HEAD}", "failoverd db upgrade, or start")
        ]
    return [ok(name, f"it answers, and is at revision {HEAD}")]


async def check_broker(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    settings = loaded.settings
    log = event_log(settings, clock)
    if settings.kafka is None or not isinstance(log, KafkaLog):
        return [skipped("broker", "none is configured: the log lives inside the daemon")]
    try:
        missing, wrong = await log.look_at_topics(topics.specs(settings.topics.prefix, settings.topics.partitions))
    except LogUnavailable as error:
        remedy = "start it, or mend `kafka`: bootstrap, security_protocol, sasl_*, ssl_cafile"
        return [failed("broker", f"{settings.kafka.bootstrap}: {error}", remedy, UNREACHABLE)]
    found = [ok("broker", f"{settings.kafka.bootstrap} answers")]
    if missing:
        found.append(ok("topics", f"{len(missing)} are not there yet: they are made at the first start"))
    found += [
        failed("topics", f"{one.topic}: {one.setting} is {one.found}, must be {one.wanted}", one.remedy)
        for one in wrong
    ]
    return found if missing or wrong else [*found, ok("topics", "all are there, with the settings that are needed")]


async def check_snapshots(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    settings = loaded.settings.snapshots
    if settings.kind == "world":
        return [_world_keeper(loaded.settings)]
    objects, _ = objects_and_ways(settings, clock, _TRIAL)
    try:
        await objects.put(_TRIAL, b"failoverd doctor")
        read_back = await objects.get(_TRIAL)
        await objects.delete(_TRIAL)
    except NotYet as error:
        where = settings.bucket or settings.folder
        remedy = "mend `snapshots`: the bucket's name, endpoint and region, and what its key may do"
        return [failed("snapshots", f"{where}: {error.why}", remedy, UNREACHABLE)]
    if read_back != b"failoverd doctor":
        return [
            failed(
                "snapshots", "what was written was not read back", "see who else writes there, or use another prefix"
            )
        ]
    return [ok("snapshots", f"{settings.bucket or settings.folder} takes, gives and deletes objects")]


def _world_keeper(settings: Settings) -> Finding:
    """Beside a simulated world it keeps snapshots; a real provider has no such keeper."""
    if settings.snapshots.url is None and not is_near(settings.vast.url):
        return skipped("snapshots", "no place is configured: cpu_standby and both have nothing to restore from")
    return ok("snapshots", f"the simulated world at {settings.snapshots.url or settings.vast.url} keeps them")


async def check_ssh(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    settings = loaded.settings
    path = settings.ssh.key_file or settings.state_dir / "ssh_key"
    if not path.exists():
        if settings.ssh.key_file is not None and (why := unwritable(path.parent)) is not None:
            return [failed("ssh key", f"{path}: {why}", "name an OpenSSH private key without a passphrase")]
        return [ok("ssh key", f"{path} is not there yet: it is made at the first start")]
    try:
        key = await asyncio.to_thread(load_or_create_key, path)
    except KeyUnusable as error:
        return [failed("ssh key", f"{path}: {error}", "name an OpenSSH private key without a passphrase")]
    return [ok("ssh key", f"{path} can be used: {AsyncsshShell(key, clock).public_key.split()[0]}")]


async def check_witnesses(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    """They only have to greet us, so any key will do."""
    witnesses = endpoints(loaded.settings.ssh.witnesses)
    if not witnesses:
        return [skipped("ssh witness", "none is named: a silent port counts where another machine's answers")]
    with TemporaryDirectory() as folder:
        shell = AsyncsshShell(await asyncio.to_thread(load_or_create_key, Path(folder, "key")), clock)
    found = []
    for where, reach in zip(witnesses, await asyncio.gather(*(shell.reach(one) for one in witnesses)), strict=True):
        address = f"{where.host}:{where.port}"
        if reach is Reach.ANSWERED:
            found.append(ok("ssh witness", f"{address} answers"))
        else:
            remedy = "name an SSH server that is always there: while none answers, no silent port counts as a death"
            found.append(failed("ssh witness", f"{address}: {reach.value}", remedy, UNREACHABLE))
    return found


async def check_channels(loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    notify = loaded.settings.notify
    faults = await asyncio.to_thread(unusable, notify)
    if faults:
        return [failed("channels", f"notify.channels.{at}.url: {said}", remedy, USAGE) for at, said, remedy in faults]
    found = []
    if notify.channels:
        found.append(ok("channels", f"{len(notify.channels)} configured; do they arrive? failoverd notify test"))
    else:
        found.append(unwise("channels", "nobody is told of incidents", "add one to notify.channels"))
    if notify.heartbeat_url is None:
        remedy = "set notify.heartbeat_url to a check at healthchecks.io, Uptime-Kuma or the like"
        found.append(unwise("watcher", "nobody is told where this daemon itself dies", remedy))
    else:
        host = urlsplit(notify.heartbeat_url.get_secret_value()).hostname
        found.append(ok("watcher", f"a sign of life goes to {host} every minute"))
    return found


CHECKS: Sequence[tuple[str, Check]] = (
    ("settings", check_settings),
    ("state_dir", check_state_dir),
    ("database", check_database),
    ("provider", check_vast),
    ("CPU VMs", check_gce),
    ("broker", check_broker),
    ("snapshots", check_snapshots),
    ("ssh key", check_ssh),
    ("ssh witness", check_witnesses),
    ("channels", check_channels),
)

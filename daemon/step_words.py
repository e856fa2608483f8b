"""What a step of a failover gave, in a few words for people. Pure.

A step's name alone does not tell what it gives: `await_heartbeat` stands in three strategies. So each case names the
fields that it speaks of, and whatever fits none is shown as it is: no journal, old or new, makes a screen fall over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_FILES = "the snapshot has no files: there was nothing to compare"


def gave(name: str, output: Mapping[str, Any], attempt: Mapping[str, Any]) -> str:
    """One remark on a step that is done."""
    match name, output:
        case "choose_snapshot", {"copy": {"size_bytes": int() as size}, "age_s": float() | int() as age_s}:
            return f"the CPU VM's copy, {age_s:.0f}s old, {size / 1e9:.1f} GB"
        case "choose_snapshot", {"id": str() as number, "age_s": float() | int() as age_s, "size_bytes": int() as size}:
            return f"snapshot {number}, {age_s:.0f}s old, {size / 1e9:.1f} GB"
        case "serve_meanwhile", {"serves": True, "why": where}:
            return f"the CPU VM serves {where}"
        case "serve_meanwhile", {"serves": False, "why": why}:
            return f"the CPU VM does not serve: {why}"
        case "carry_over", {"from_vm": True, "files": files, "size_bytes": int() as size}:
            return f"{files} files from the CPU VM, {size / 1e9:.1f} GB, compared"
        case "carry_over", {"from_vm": False, "why": why}:
            return f"nothing from the CPU VM: {why}"
        case "fence_primary", {"grade": grade, "proof": proof}:
            return f"{grade}: {proof}"
        case "rent_candidate", {
            "instance": instance,
            "host": host,
            "gpu_name": gpu,
            "price_per_hour": float() as price,
        }:
            tried = len(attempt.get("candidates") or ())
            return f"instance {instance} on host {host}, {gpu} at {price:.2f} $/h ({tried} tried)"
        case "restore", {"bytes_done": int() as size, "detail": detail}:
            return f"{size / 1e9:.1f} GB, {detail}"
        case "verify", {"files": 0}:
            return NO_FILES
        case "verify", {"files": files}:
            return f"{files} files equal the manifest"
        case "start_agent", _:
            return "the agent was started"
        case "await_heartbeat", {"heard_over": way}:
            return f"heard over {way}"
        case "await_heartbeat", {"boot_id": _}:
            return "it speaks again, with a new boot"
        case "note_boot", {"boot_ids": [*boots]}:
            return f"boots {', '.join(boot for boot in boots if boot) or 'unknown'} have spoken before"
        case "reboot", {"instance": instance}:
            return f"instance {instance} was rebooted"
        case "check_standby", {"standby": standby, "volume": volume}:
            return f"standby {standby} and volume {volume} are there"
        case "start_standby", {"instance": instance}:
            return f"instance {instance} is starting"
        case "check_place", {"volume": volume}:
            return f"volume {volume} is there, and a free GPU beside it"
        case "find_place" | "find_volume", {"volume": volume, "host": host, "gpu_name": gpu}:
            return f"host {host} has volume {volume}, and a {gpu} beside it"
        case "find_replica", {"volume": volume, "host": host, "copied_at": copied_at}:
            return f"copy {volume} of the volume on host {host}, made at {copied_at}"
        case "await_running", {"instance": instance, "host": host, "gpu_name": gpu}:
            return f"instance {instance} runs on host {host}, its {gpu} answers"
        case "verify_workspace", {"path": path, "marked": marked}:
            return f"{path} is there, {'marked as this machine’s' if marked else 'unmarked'}"
        case "hand_over", {"instance": instance}:
            return f"instance {instance} is the machine now"
        case _:
            return ", ".join(f"{key} {_short(value)}" for key, value in output.items())


def told(name: str, step: str, output: Mapping[str, Any]) -> str | None:
    """The same as a sentence about the machine of that name; None for what need not be told."""
    match step, output:
        case "choose_snapshot", {"copy": {"size_bytes": int() as size}, "age_s": float() | int() as age_s}:
            return f"{name}: its CPU VM has the newest copy, {age_s:.0f} s old, {size / 1e9:.1f} GB."
        case "serve_meanwhile", {"serves": True, "why": where}:
            return f"{name}: its CPU VM serves meanwhile {where}."
        case "carry_over", {"from_vm": True, "files": files}:
            return f"{name}: {files} files of its CPU VM were carried over, and compared."
        case "choose_snapshot", {"id": str() as number, "age_s": float() | int() as age_s, "size_bytes": int() as size}:
            return f"{name}: takes snapshot {number}, verified, {age_s:.0f} s old, {size / 1e9:.1f} GB."
        case "fence_primary", {"grade": grade, "proof": proof}:
            return f"{name}: the old instance is harmless, it is {grade}: {proof}."
        case "rent_candidate", {"instance": instance, "host": host}:
            return f"{name}: instance {instance} on host {host} passed its checks first."
        case "check_standby", {"standby": standby, "volume": volume}:
            return f"{name}: its standby, instance {standby}, is there, with volume {volume}."
        case "start_standby", {"instance": instance}:
            return f"{name}: its standby, instance {instance}, is starting."
        case "find_place" | "find_volume", {"volume": volume, "host": host}:
            return f"{name}: host {host}, which has volume {volume}, has a GPU for it."
        case "find_replica", {"volume": volume, "host": host, "copied_at": copied_at}:
            where = f"copy {volume} of its volume on host {host}"
            return f"{name}: goes on with {where}, made at {copied_at}: what was written since is lost."
        case "await_running", _:
            return f"{name}: its standby runs, and its GPU answers."
        case "await_release", {"volume": volume}:
            return f"{name}: volume {volume} is free to be mounted again."
        case "verify_workspace", {"path": path}:
            return f"{name}: {path} is there, on its volume."
        case "restore", _:
            return f"{name}: its data is on the new instance."
        case "verify", {"files": 0}:
            return f"{name}: {NO_FILES}."
        case "verify", {"files": files}:
            return f"{name}: {files} files were hashed and equal the manifest."
        case "reboot", {"instance": instance}:
            return f"{name}: instance {instance} was rebooted, which keeps its GPU and its disk."
        case "await_heartbeat", {"heard_over": _}:
            return f"{name}: the new instance speaks."
        case "await_heartbeat", _:
            return f"{name}: the rebooted instance speaks again."
        case _:
            return None


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

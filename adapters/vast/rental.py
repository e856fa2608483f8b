"""The one call that costs money: what create sends, and what its answers mean.

Vast has no idempotency key. The label, chosen before, is ours: a lost answer is settled by looking for the label, never
by a second call (facts/vast-api.md, section 3).
"""

from __future__ import annotations

from adapters.vast.replies import Kind, Reply
from machines.errors import Refused, StepError, Unknown
from machines.model import Claim, InstanceId

_LEAST_DISK_GB = 8.0


def create_body(claim: Claim) -> dict[str, object]:
    """The body as the official client sends it (facts/vast-requests.json): all or nothing.

    A price makes it interruptible, so there is none unless that is wanted. `cancel_unavail`, for otherwise a taken GPU leaves us a stopped rental
    that bills its disk.
    """
    workload, volume = claim.workload, claim.volume
    mount = {"create_new": False, "volume_id": volume.id, "mount_path": volume.path} if volume else None
    body: dict[str, object] = {
        "client_id": "me",
        "image": workload.image,
        "env": dict(workload.env),
        "price": claim.bid,
        "disk": max(_LEAST_DISK_GB, float(workload.disk_gb)),
        "label": claim.label,
        "extra": None,
        "onstart": claim.onstart if claim.onstart is not None else workload.onstart,
        "image_login": workload.image_login,
        "python_utf8": False,
        "lang_utf8": False,
        "use_jupyter_lab": False,
        "jupyter_dir": None,
        "force": False,
        "cancel_unavail": True,
        "template_hash_id": None,
        "user": None,
        "runtype": workload.runtype,
    }
    return body | ({"volume_info": mount} if mount else {})


def contract_in(reply: Reply) -> InstanceId | None:
    """The rental that the answer names, whether it calls itself a success or not."""
    number = reply.fields.get("new_contract")
    return InstanceId(number) if isinstance(number, int) and not isinstance(number, bool) and number > 0 else None


def why_not_created(reply: Reply) -> StepError:
    """The error of an answer that names no rental."""
    if reply.kind is Kind.OK:
        return Unknown(f"create answered yes and named no rental: {reply}")
    if reply.kind is Kind.NO_OFFER or (reply.status in (404, 410) and reply.kind is not Kind.MONEY):
        return Refused("no_offer_matches", f"the offer is gone: {reply}")
    if reply.error == "invalid_args" and "volume" in reply.message:
        if "in use" in reply.message:
            return Refused("volume_in_use", f"the volume is not shared: {reply}")
        return Refused("warm_pool_not_ready", f"the volume is refused: {reply}")
    return refusal(reply)


def refusal(reply: Reply) -> Refused:
    """The provider's no, in its own words."""
    return Refused("provider_unavailable", f"Vast refused: {reply}")

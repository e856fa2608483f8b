"""Vast.ai behind the port GpuCloud: an own thin client of the dozen endpoints that a failover needs.

The official SDK is no choice: it repeats a create after a 503, blocks the loop, and its async client cannot be pointed
at a simulator (facts/vast-api.md, section 16).
"""

from adapters.vast.account import Account
from adapters.vast.billing import VastBilling
from adapters.vast.circuit import Circuit, CircuitState
from adapters.vast.client import VastApi, VastClient, vast_client
from adapters.vast.cloud import VastCloud
from adapters.vast.pacer import Turns
from adapters.vast.replies import KeyDead
from adapters.vast.settings import VastSettings
from adapters.vast.volumes import VastVolumes

__all__ = [
    "Account",
    "Circuit",
    "CircuitState",
    "KeyDead",
    "Turns",
    "VastApi",
    "VastBilling",
    "VastClient",
    "VastCloud",
    "VastSettings",
    "VastVolumes",
    "vast_client",
]

"""Compute Engine: the VMs of CPU standbys."""

from adapters.gce.cloud import GceCloud
from adapters.gce.google import GoogleCompute
from adapters.gce.quotas import Quota, read_quotas
from adapters.gce.settings import VM_USER, GceAccess, GceSettings
from adapters.gce.wire import ComputeWire

__all__ = [
    "VM_USER",
    "ComputeWire",
    "GceAccess",
    "GceCloud",
    "GceSettings",
    "GoogleCompute",
    "Quota",
    "read_quotas",
]

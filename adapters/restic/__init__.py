"""restic: run here on the machine whose workspace is kept (`Restic`), and on a replacement over SSH (`ResticSnapshots`)."""

from adapters.restic.program import Backup, Listed, Restic, ResticFailed
from adapters.restic.snapshots import ResticSettings, ResticSnapshots, Way

__all__ = ["Backup", "Listed", "Restic", "ResticFailed", "ResticSettings", "ResticSnapshots", "Way"]

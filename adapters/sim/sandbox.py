"""The folder that stands for a container: its root, its mounts, its programs, and the paths that commands see.

The sandbox is no chroot. Absolute paths under the container's mounts are rewritten in the text of commands, which
covers what people type and what our steps send; a program that builds such a path by itself is not covered.
"""

import hashlib
import os
import re
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from adapters.sim.instances import Instance

RUN_ENV = "FAILOVERD_SIM_RUN"
"""Marks every process of an instance, and tells the programs of the world which instance they run on."""
ONSTART = "onstart.sh"
"""Written when the container is made, run at every start; what somebody adds to it later runs too."""
HOME = "/root"
PLAIN_MOUNTS = ("/workspace", "/data")
_BEFORE, _AFTER = r"(?<![\w./~}-])", r"(?=$|[]/\s\"'`;:&|<>(){},=\\*?])"

_NVIDIA_SMI = """#!/bin/sh
# Stands for the driver's tool: answers for the GPU of the instance that asks.
. "$FAILOVERD_SIM_RUN/facts"
if [ "$state" != ok ]; then
  echo "Unable to determine the device handle for GPU 0000:01:00.0: GPU is lost. Reboot the system." >&2
  exit 15
fi
query= ; units=1 ; header=1
for word in "$@"; do
  case $word in
    --query-gpu=*) query=${word#--query-gpu=} ;;
    --format=*) case $word in *nounits*) units=0 ;; esac ; case $word in *noheader*) header=0 ;; esac ;;
    -L|--list-gpus) n=0 ; while [ $n -lt "$count" ]; do echo "GPU $n: $name (UUID: $uuid-$n)" ; n=$((n + 1)) ; done ; exit 0 ;;
  esac
done
if [ -z "$query" ]; then
  echo "NVIDIA-SMI $driver   Driver Version: $driver   CUDA Version: $cuda"
  n=0 ; while [ $n -lt "$count" ]; do echo "|  $n  $name   | 1MiB / ${memory}MiB |" ; n=$((n + 1)) ; done
  exit 0
fi
mib= ; percent= ; watt=
[ $units = 1 ] && mib=" MiB" && percent=" %" && watt=" W"
[ $header = 1 ] && echo "$query" | sed 's/,/, /g'
n=0
while [ $n -lt "$count" ]; do
  line= ; rest=$query,
  while [ -n "$rest" ]; do
    field=${rest%%,*} ; rest=${rest#*,}
    case $field in
      name|gpu_name) value=$name ;;
      memory.total) value=$memory$mib ;;
      memory.free) value=$((memory - 1))$mib ;;
      memory.used) value=1$mib ;;
      driver_version) value=$driver ;;
      index) value=$n ;;
      count) value=$count ;;
      uuid|gpu_uuid) value=$uuid-$n ;;
      temperature.gpu) value=41 ;;
      utilization.gpu|utilization.memory) value=0$percent ;;
      power.draw) value=31.20$watt ;;
      compute_cap) value=$compute_cap ;;
      pci.bus_id) value=00000000:0$((n + 1)):00.0 ;;
      *) value="[N/A]" ;;
    esac
    [ -n "$line" ] && line="$line, "
    line=$line$value
  done
  echo "$line"
  n=$((n + 1))
done
"""
_DF = """#!/bin/sh
# Stands for df: the container's disk, not the one of the computer that simulates it.
. "$FAILOVERD_SIM_RUN/facts"
for place in "$@"; do :; done
case ${place:-/} in -*) place=/ ;; esac
[ -e "${place:-/}" ] || { echo "df: $place: No such file or directory" >&2 ; exit 1 ; }
used=$((disk_kb / 50))
echo "Filesystem     1024-blocks      Used Available Capacity Mounted on"
echo "overlay        $disk_kb $used $((disk_kb - used)) 2% ${place:-/}"
"""
_FAILOVERD = """#!/bin/sh
# Stands for failoverd on an instance: notes what was asked for; the world starts the agent.
if [ "$1" != agent ]; then
  echo "failoverd: only 'agent' runs on a simulated instance" >&2
  exit 64
fi
shift
request=$FAILOVERD_SIM_RUN/request.$$
mkdir -p "$request.part" || exit 1
if [ $# -gt 0 ]; then printf '%s\\0' "$@" > "$request.part/argv" ; else : > "$request.part/argv" ; fi
env -0 > "$request.part/env"
pwd > "$request.part/cwd"
mv "$request.part" "$request.agent"
"""


class Grounds:
    """The world's folder: programs, instances, volumes, snapshots."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True, exist_ok=True)
        for name, text in (("nvidia-smi", _NVIDIA_SMI), ("df", _DF), ("failoverd", _FAILOVERD)):
            program = self.bin / name
            program.write_text(text)
            program.chmod(program.stat().st_mode | stat.S_IXUSR)

    def volume(self, volume_id: int) -> Path:
        return self.folder / "volumes" / str(volume_id)

    def snapshot(self, snapshot_id: int) -> Path:
        return self.folder / "snapshots" / str(snapshot_id)

    def instance(self, instance: Instance) -> "Sandbox":
        return Sandbox(self, self.folder / "instances" / str(instance.id), instance)


class Sandbox:
    """One container's folder. `root` is what the container sees as `/` and as its home."""

    def __init__(self, grounds: Grounds, folder: Path, instance: Instance) -> None:
        self._grounds, self._folder, self._instance = grounds, folder, instance
        self.root, self.run = folder / "root", folder / "run"
        self._mounts = {mount.path.rstrip("/"): grounds.volume(mount.volume_id) for mount in instance.mounts}
        places = sorted({*PLAIN_MOUNTS, *self._mounts, HOME}, key=len, reverse=True)
        # Real paths that happen to lie under such a name (a checkout in /workspace, say) are not the container's.
        real = "|".join(map(re.escape, (str(grounds.folder), sys.prefix)))
        self._pattern = re.compile(f"{_BEFORE}(?:(?P<real>{real})|({'|'.join(map(re.escape, places))})){_AFTER}")

    def lay_out(self) -> None:
        """Make the folders and write what the create call gave: also again after a recycle, which empties the root."""
        self.run.mkdir(parents=True, exist_ok=True)
        self.root.mkdir(parents=True, exist_ok=True)
        for path, volume in self._mounts.items():
            place = self.root / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.is_symlink():
                place.symlink_to(volume, target_is_directory=True)
        for path in PLAIN_MOUNTS:
            place = self.root / path.lstrip("/")
            if not place.is_symlink():
                place.mkdir(parents=True, exist_ok=True)
        home = self.root / HOME.lstrip("/")
        if not home.is_symlink():
            home.symlink_to(".", target_is_directory=True)
        if self._instance.onstart is not None:
            (self.root / ONSTART).write_text(self._instance.onstart.rstrip("\n") + "\n")
        self.show_gpu(works=True)

    def show_gpu(self, *, works: bool) -> None:
        """Tell the instance's programs what to answer: GPU, driver, disk."""
        instance, kind = self._instance, self._instance.host.kind
        lines = {
            "state": "ok" if works else "lost",
            "name": f"NVIDIA GeForce {kind.name}" if kind.name.startswith("RTX") else f"NVIDIA {kind.name}",
            "memory": str(kind.ram_mb),
            "count": str(instance.num_gpus),
            "disk_kb": str(int(instance.disk_gb * 1_000_000)),
            "driver": instance.host.driver,
            "cuda": str(instance.host.cuda),
            "uuid": f"GPU-{instance.host.machine_id:08x}",
            "compute_cap": f"{kind.compute_cap // 100}.{kind.compute_cap % 100 // 10}",
        }
        (self.run / "facts").write_text("".join(f"{key}='{value}'\n" for key, value in lines.items()))

    def wipe(self) -> None:
        """A new container: what was on its own disk is gone, its volumes are not."""
        shutil.rmtree(self.root, ignore_errors=True)
        self.lay_out()

    def erase(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def place(self, path: str) -> Path:
        """Where an absolute path of the container lies; a relative one is under the home."""
        inside = os.path.normpath(
            "/" + path.removeprefix(HOME + "/" if path.startswith(HOME + "/") else "").lstrip("/")
        )
        return self.root if inside in ("/", HOME) else self.root / inside.lstrip("/")

    def rewrite(self, text: str) -> str:
        """Turn the container's absolute paths into the sandbox's."""
        return self._pattern.sub(lambda found: found["real"] or str(self.place(found[2])), text)

    def environment(self) -> dict[str, str]:
        """What a command sees: the instance's own variables, and what the provider adds."""
        instance = self._instance
        own = {key: self.rewrite(value) for key, value in instance.env.items() if re.fullmatch(r"[A-Za-z_]\w*", key)}
        return {
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            "SHELL": "/bin/sh",
            "USER": "root",
            "LOGNAME": "root",
            **own,
            "HOME": str(self.root),
            "PATH": f"{self._grounds.bin}:/usr/local/bin:/usr/bin:/bin",
            "CONTAINER_ID": str(instance.id),
            "CONTAINER_API_KEY": instance.api_key,
            "VAST_CONTAINERLABEL": f"C.{instance.id}",
            "PUBLIC_IPADDR": "127.0.0.1",
            "GPU_COUNT": str(instance.num_gpus),
            RUN_ENV: str(self.run),
        }

    def take_request(self) -> "AgentRequest | None":
        """The newest request for an agent that a command left behind, and no older one."""
        found = sorted(self.run.glob("request.*.agent"), key=lambda path: path.stat().st_mtime_ns)
        requests = [AgentRequest(path) for path in found]
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        return requests[-1] if requests else None


class AgentRequest:
    """What `failoverd agent …` was called with."""

    def __init__(self, folder: Path) -> None:
        argv = (folder / "argv").read_bytes().split(b"\0")[:-1]
        pairs = (os.fsdecode(line).partition("=") for line in (folder / "env").read_bytes().split(b"\0") if line)
        self.argv = [os.fsdecode(word) for word in argv]
        self.env = {name: value for name, _, value in pairs}
        self.cwd = Path((folder / "cwd").read_text().rstrip("\n"))


def copy_tree(source: Path, target: Path) -> dict[str, str]:
    """Copy every regular file and return its sha256 by relative path, taken from the copy."""
    manifest = {}
    target.mkdir(parents=True, exist_ok=True)
    for folder, _folders, names in os.walk(source):
        for name in sorted(names):
            path = Path(folder, name)
            if not path.is_file() or path.is_symlink():
                continue
            relative = path.relative_to(source)
            copy = target / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            partial = copy.with_name(copy.name + ".partial")
            shutil.copyfile(path, partial)
            partial.replace(copy)
            manifest[relative.as_posix()] = _sha256(copy)
    return manifest


def differences(folder: Path, manifest: Mapping[str, str]) -> list[str]:
    """The files of a manifest that a folder does not hold as they were."""
    return [path for path, digest in manifest.items() if not _holds(folder / path, digest)]


def _holds(path: Path, digest: str) -> bool:
    return path.is_file() and _sha256(path) == digest


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

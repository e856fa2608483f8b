"""A real Apache Kafka on 127.0.0.1, from Maven's artifacts: for tests, and for `make kafka`."""

from __future__ import annotations

import argparse
import base64
import fcntl
import hashlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree

from tests.servers.process import ServerProcess, StartFailed, free_port, is_free

HERE = Path(__file__).parent / "kafka_broker"
CACHE = Path(__file__).parents[2] / ".cache"
DEPENDENCY_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1"
JAVA_NEEDED = 17
START_LIMIT_S = 60.0
JVM_OPTIONS = ("-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


class KafkaBroker:
    """One broker on one folder. The folder outlives the process: `start` formats it only where it is new."""

    def __init__(
        self, folder: Path, port: int | None = None, doors: Sequence[int] = (), joins: KafkaBroker | None = None
    ) -> None:
        """`doors` are ports of proxies: for each there is a listener more, which sends its clients to that proxy.
        With `joins` it is the second node of that broker's cluster, and leads what is assigned to node 2."""
        self.folder = folder
        self._fixed_port = port
        self._doors = tuple(doors)
        self.door_ports = tuple(free_port() for _ in doors)
        """To be put behind the proxies."""
        self._joins = joins
        self.port = 0
        self._process: ServerProcess | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def process(self) -> ServerProcess:
        assert self._process is not None, "not started"
        return self._process

    def start(self) -> None:
        """Return when the broker answers; after a stop or a kill it comes back on the same port with its records."""
        fresh = not _is_formatted(self.folder)
        try:
            self._start(self.port or self._fixed_port or free_port())
        except StartFailed as error:
            if not fresh or self._fixed_port or "Address already in use" not in str(error):
                raise
            # Nothing has been written yet in a folder whose broker never had its ports.
            shutil.rmtree(self.folder / "data", ignore_errors=True)
            self._start(free_port())

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def kill(self) -> None:
        self.process.kill()

    def pause(self) -> None:
        self.process.pause()

    def resume(self) -> None:
        self.process.resume()

    def _start(self, port: int) -> None:
        # Checked by us, because another broker on that port would answer in the place of this one.
        if not is_free(port):
            raise StartFailed(f"127.0.0.1:{port}: Address already in use")
        self.port = port
        self.folder.mkdir(parents=True, exist_ok=True)
        properties = self._write_properties()
        command = _java_command(jars())
        if not _is_formatted(self.folder):
            _format(command, properties, self._joins and self._joins.cluster_id)
        self._process = ServerProcess([*command, "kafka.Kafka", str(properties)], self.folder / "broker.log")
        self._process.start(lambda: answers_metadata(port), START_LIMIT_S)

    @property
    def cluster_id(self) -> str:
        """Of a broker that was started."""
        found = re.search(r"cluster\.id=(\S+)", (self.folder / "data" / "meta.properties").read_text())
        assert found is not None
        return found[1]

    def _write_properties(self) -> Path:
        properties = self.folder / "server.properties"
        values = {
            "ROLES": "broker" if self._joins else "broker,controller",
            "NODE": 2 if self._joins else 1,
            "LISTENERS": ",".join(self._listeners(self.port, self.door_ports)),
            "ADVERTISED": ",".join(self._listeners(self.port, self._doors)),
            "PROTOCOLS": "".join(f",DOOR{number}:PLAINTEXT" for number in range(len(self._doors))),
            "CONTROLLER_PORT": self._controller_port(properties),
            "DATA": self.folder / "data",
        }
        if not self._joins:
            values["LISTENERS"] = f"{values['LISTENERS']},CONTROLLER://127.0.0.1:{values['CONTROLLER_PORT']}"
        text = (HERE / "server.properties").read_text()
        for name, value in values.items():
            text = text.replace(f"@{name}@", str(value))
        properties.write_text(text)
        return properties

    def _listeners(self, port: int, doors: Sequence[int]) -> list[str]:
        own = f"PLAINTEXT://127.0.0.1:{port}"
        return [own, *(f"DOOR{number}://127.0.0.1:{door}" for number, door in enumerate(doors))]

    def _controller_port(self, properties: Path) -> int:
        """The same again for a formatted folder: the quorum's own records name it."""
        if self._joins:
            return self._joins._controller_port(self._joins.folder / "server.properties")
        if not _is_formatted(self.folder):
            return free_port()
        found = re.search(r"quorum.bootstrap.servers=127.0.0.1:(\d+)", properties.read_text())
        assert found is not None, f"{properties} is not ours"
        return int(found[1])


def version() -> str:
    """The version that pom.xml names."""
    found = ElementTree.parse(HERE / "pom.xml").find(".//{*}kafka.version")
    assert found is not None
    assert found.text is not None
    return found.text


def missing_programs() -> str | None:
    """What keeps this machine from running the broker, or None. Maven is not needed once the jars are there."""
    java = _java_version()
    if java is None:
        return f"no Java (JAVA_HOME or PATH); {JAVA_NEEDED} or newer is needed"
    if java < JAVA_NEEDED:
        return f"Java {java} is too old; {JAVA_NEEDED} or newer is needed"
    if shutil.which("mvn") is None and not _libs().is_dir():
        return "no mvn on PATH"
    return None


def jars() -> Path:
    """The folder of the broker's jars, fetched at first use and checked each time. Raise StartFailed."""
    with _locked(CACHE / "kafka" / f"{version()}.lock"):
        if not _libs().is_dir():
            _fetch(_libs())
        _check(_libs())
    return _libs()


def answers_metadata(port: int) -> bool:
    """Does the broker answer a metadata request? An open port alone is too early.

    Metadata v4, the request header v1, no topics asked for; the answer names at least one broker.
    """
    body = struct.pack(">hhi", 3, 4, 1) + struct.pack(">h", 4) + b"test" + struct.pack(">ib", 0, 0)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = connection.makefile("rb").read(16)
    except OSError:
        return False
    return len(answer) == 16 and int(struct.unpack(">iiii", answer)[3]) >= 1


def _is_formatted(folder: Path) -> bool:
    return (folder / "data" / "meta.properties").exists()


def _libs() -> Path:
    return CACHE / "kafka" / version() / "libs"


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else "java"


def _java_version() -> int | None:
    try:
        answer = subprocess.run([_java(), "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(found[1]) if found else None


def _java_command(libs: Path) -> list[str]:
    # Java itself expands the star of the class path.
    return [_java(), *JVM_OPTIONS, f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}", "-cp", f"{libs}/*"]


def _format(command: list[str], properties: Path, joins: str | None) -> None:
    """For a cluster of its own, or for the one of the id."""
    # Kafka's own random-uuid costs a JVM start. A leading dash would be read as an option.
    cluster = joins or "f" + base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")[1:]
    first = "--no-initial-controllers" if joins else "--standalone"
    tool = [*command, "kafka.tools.StorageTool", "format", first, "-t", cluster, "-c", str(properties)]
    answer = subprocess.run(tool, capture_output=True, text=True, timeout=60)
    if answer.returncode != 0:
        raise StartFailed(f"the broker's folder could not be formatted:\n{answer.stdout}{answer.stderr}")


def _fetch(libs: Path) -> None:
    """All or nothing: the folder gets its name only when it is complete."""
    new = libs.with_name("libs.new")
    shutil.rmtree(new, ignore_errors=True)
    command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), f"-Dmaven.repo.local={CACHE / 'm2'}"]
    command += [f"{DEPENDENCY_PLUGIN}:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={new}"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=900)
    except OSError as error:
        raise StartFailed(f"Kafka's jars could not be fetched: {error}") from error
    if answer.returncode != 0:
        raise StartFailed(f"Maven could not fetch Kafka's jars:\n{answer.stdout}{answer.stderr}")
    _check(new)
    new.rename(libs)


def _check(libs: Path) -> None:
    wanted = {name: digest for digest, name in map(str.split, (HERE / "jars.sha256").read_text().splitlines())}
    found = {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in libs.glob("*.jar")}
    if found != wanted:
        different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        raise StartFailed(
            f"not the jars of jars.sha256: {', '.join(different)}; delete {libs} to fetch them again, "
            "or, after a change of pom.xml, write the list anew with sha256sum"
        )


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Several test runs may share the cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> None:
    """`python -m tests.servers.kafka`: a broker in the foreground until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.servers.kafka", description="A local Apache Kafka.")
    parser.add_argument("--port", type=int, default=9092)
    parser.add_argument("--dir", type=Path, default=CACHE / "kafka-data", help="where the broker's folders are")
    parser.add_argument("--keep", action="store_true", help="go on with the records of the last start with --keep")
    arguments = parser.parse_args()
    if (missing := missing_programs()) is not None:
        sys.exit(f"no Kafka broker: {missing}")
    parent = arguments.dir.absolute()
    parent.mkdir(parents=True, exist_ok=True)
    if arguments.keep:
        sys.exit(_serve(parent / "kept", arguments.port))
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    status = _serve(folder, arguments.port)
    if status == 0:
        shutil.rmtree(folder)
    sys.exit(status)


def _serve(folder: Path, port: int) -> int:
    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    broker = KafkaBroker(folder, port)
    print(f"starting Apache Kafka {version()} (the first time its jars are fetched) ...", flush=True)
    try:
        broker.start()
        print(f"bootstrap servers: {broker.bootstrap}\nrecords and log: {folder}\nstop: Ctrl-C, or kill {os.getpid()}")
        sys.stdout.flush()
        return broker.process.wait()
    except StartFailed as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        broker.stop()


if __name__ == "__main__":
    main()

"""The state directory: held by one daemon, and the same replica only as long as it is the same directory."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from adapters.system_clock import SystemRandom
from daemon.settings import SettingsError
from daemon.state_folder import StateFolder, private_files


def replica(path: Path) -> str:
    with StateFolder.claim(path, SystemRandom()) as folder:
        return folder.replica


def test_a_restart_is_the_same_replica(tmp_path: Path) -> None:
    assert replica(tmp_path / "state") == replica(tmp_path / "state")


def test_a_copy_of_the_directory_is_another_replica(tmp_path: Path) -> None:
    original = replica(tmp_path / "state")
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    copied = replica(tmp_path / "copy")
    assert copied != original
    assert (replica(tmp_path / "copy"), replica(tmp_path / "state")) == (copied, original)


@pytest.mark.parametrize("left", ["", "replica-of-an-older-version\n"])
def test_a_file_that_was_half_written_is_written_anew(tmp_path: Path, left: str) -> None:
    (tmp_path / "replica").write_text(left)
    found = replica(tmp_path)
    assert found.startswith("replica-")
    assert found not in left
    assert replica(tmp_path) == found


def test_a_second_daemon_is_refused_while_the_first_one_has_it(tmp_path: Path) -> None:
    with StateFolder.claim(tmp_path, SystemRandom()), pytest.raises(SettingsError, match="in use by another failoverd"):
        StateFolder.claim(tmp_path, SystemRandom())


def test_only_its_user_reads_what_lies_in_it(tmp_path: Path) -> None:
    """The database holds machines' environments and logins, and its journal what was written last."""
    with private_files(), StateFolder.claim(tmp_path / "state", SystemRandom()) as folder:
        database = sqlite3.connect(folder.path / "failoverd.db")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE a (b)")
        modes = {file.name: file.stat().st_mode & 0o777 for file in (folder.path, *folder.path.iterdir())}
        database.close()
    assert modes.pop("state") == 0o700
    assert "failoverd.db-wal" in modes
    assert set(modes.values()) == {0o600}


def test_a_database_that_others_could_read_is_closed_to_them_at_the_next_start(tmp_path: Path) -> None:
    database = tmp_path / "failoverd.db"
    database.touch(mode=0o644)
    tmp_path.chmod(0o755)
    replica(tmp_path)
    assert database.stat().st_mode & 0o777 == 0o600
    assert tmp_path.stat().st_mode & 0o777 == 0o755, "the folder's mode is whoever's who made it"

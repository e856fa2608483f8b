"""What counts as a public SSH key, and what is refused before it could lock somebody out."""

from __future__ import annotations

import asyncssh
import pytest

from machines.public_keys import NoPublicKey, normalised


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"])
def test_a_key_as_its_owner_copies_it_is_taken(kind: str) -> None:
    line = asyncssh.generate_private_key(kind, comment="me@home").export_public_key().decode()
    assert normalised(f"  {line}\n") == line.strip()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ssh-ed25519",
        "ssh-ed25519 not-base64",
        "ssh-ed25519 AAAAB3NzaC1yc2EAAAADAQABAAAAgQ==",
        'command="rm -rf /" ssh-ed25519 AAAA',
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "ssh-dss AAAAB3NzaC1kc3MAAACB",
    ],
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(NoPublicKey):
        normalised(text)


def test_two_keys_in_one_text_are_refused() -> None:
    line = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    with pytest.raises(NoPublicKey):
        normalised(f"{line}\n{line}")

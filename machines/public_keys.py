"""Public SSH keys as an operator writes them: one line of an authorized_keys file, without options."""

from __future__ import annotations

import base64
import binascii

WANTED = "a line like 'ssh-ed25519 AAAA... name'"
_KINDS = (
    *("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    *("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"),
)


class NoPublicKey(ValueError):
    """The text is none; `wanted` says what would be one."""

    wanted = WANTED


def normalised(text: str) -> str:
    """The key on one line, with single blanks. Raise NoPublicKey."""
    words = text.split()
    if "\n" in text.strip() or len(words) < 2 or words[0] not in _KINDS:
        raise NoPublicKey("it is no public SSH key")
    try:
        blob = base64.b64decode(words[1], validate=True)
    except binascii.Error:
        raise NoPublicKey("its second word is no base64") from None
    # The blob begins with the kind again, its length in four bytes before it (RFC 4253, section 6.6).
    if blob[:4] != len(words[0]).to_bytes(4, "big") or blob[4 : 4 + len(words[0])] != words[0].encode():
        raise NoPublicKey(f"what follows is no {words[0]}")
    return " ".join(words)

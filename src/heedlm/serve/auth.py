"""Who may ask: bearer keys, and which names of this machine are answered to."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from heedlm.errors import HeedError

KEYS_VARIABLE = "HEED_API_KEYS"
_SHORTEST = 16


def read_keys(listed: str, file: Path | None) -> tuple[str, ...]:
    """Keys from a list with commas between them and from a file with one on each line; # begins a remark.

    Raises HeedError for a file that cannot be read or holds none, and for keys that can be guessed.
    """
    keys = [key.strip() for key in listed.split(",") if key.strip()]
    if file is not None:
        try:
            lines = file.read_text("utf8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise HeedError(f"The file of keys cannot be read: {error}", str(file), "one key on each line") from None
        found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        if not found:
            raise HeedError("The file of keys holds none.", str(file), "one key on each line")
        keys += found
    for key in keys:
        if len(key) < _SHORTEST or not key.isascii() or any(sign.isspace() for sign in key):
            raise HeedError(
                f"A key of {len(key)} characters is too easily guessed, or cannot be sent in a header.",
                str(file or KEYS_VARIABLE),
                f"at least {_SHORTEST} ASCII characters without blanks, for example from: openssl rand -hex 24",
            )
    return tuple(dict.fromkeys(keys))


def is_loopback(host: str) -> bool:
    """Whether an address to listen on reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_host(host: str, keys: Sequence[str]) -> None:
    """Raises HeedError for a server that anybody on the network could use."""
    if not keys and not is_loopback(host):
        raise HeedError(
            f"On {host} other machines can reach this server, and no key is set.",
            "--host",
            f"{KEYS_VARIABLE}=$(openssl rand -hex 24) heed serve ..., or --keys FILE; or leave --host away",
        )


class Keys:
    """The keys of a server, compared in constant time; a key is known in logs and limits by a name that does not tell it."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._digests = [hashlib.sha256(key.encode()).digest() for key in keys]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def client(self, header: str) -> str | None:
        """The name of the key in an Authorization header; None where it holds none of ours."""
        kind, _, key = header.partition(" ")
        given = hashlib.sha256(key.strip().encode("latin-1", "replace")).digest()
        matches = [hmac.compare_digest(given, known) for known in self._digests]
        return f"key-{given.hex()[:8]}" if any(matches) and kind.lower() == "bearer" else None


def is_local_name(host: str) -> bool:
    """Whether a Host header names this machine. A page of another site can reach a loopback server through a name of its own
    that leads here; its browser then still sends that name."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    return is_loopback(name.strip("[]")) or name == "localhost"

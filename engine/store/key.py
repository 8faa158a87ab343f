"""The gateway's own secrets, each made once and kept readable by its owner only: the key that local clients present (or the
environment's), the salt of redaction, and what seals envelopes of reasoning state.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

VARIABLE = "STACKBILT_GATEWAY_KEY"

_SEALING = 32
SALT_BYTES = 32

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def gateway_key(state: Path, environ: Mapping[str, str]) -> tuple[str, bool]:
    """(key, whether it came from the environment). Makes `state`/key with mode 0600 at first. Raises OSError."""
    if key := environ.get(VARIABLE, "").strip():
        return key, True
    try:
        if key := (state / "key").read_text("ascii").strip():
            return key, False
    except FileNotFoundError:
        pass
    return _make(state / "key"), False


def named_key(state: Path, name: str) -> str:
    """The key that stands for the project `name`, made at first. Raises ValueError for a name that is none, OSError."""
    if not _NAME.fullmatch(name):
        raise ValueError("a key's name is letters, digits, '.', '_' and '-', at most 64 of them")
    path = state / "keys" / name
    try:
        if key := path.read_text("ascii").strip():
            return key
    except FileNotFoundError:
        pass
    return _make(path)


def named_keys(state: Path) -> dict[str, str]:
    """Name → key of all projects that have one. Raises OSError."""
    try:
        files = sorted((state / "keys").iterdir())
    except FileNotFoundError:
        return {}
    found = {file.name: file.read_text("ascii").strip() for file in files if _NAME.fullmatch(file.name)}
    return {name: key for name, key in found.items() if key}


def _make(path: Path) -> str:
    """A new key in a file of its own, for its owner alone."""
    key = "sbgw-" + secrets.token_urlsafe(24)
    _keep(path.parent, path.name, key.encode() + b"\n")
    return key


def salt(state: Path) -> bytes:
    """32 random bytes that key the placeholders of redacted secrets, made at first. A folder that takes none costs only that
    placeholders differ from run to run.
    """
    try:
        if len(found := (state / "salt").read_bytes()) == SALT_BYTES:
            return found
    except OSError:
        pass
    made = secrets.token_bytes(SALT_BYTES)
    with suppress(OSError):
        _keep(state, "salt", made)
    return made


def _keep(state: Path, name: str, content: bytes) -> None:
    """Write `state`/`name`, readable by its owner only."""
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(state / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def sealing_key(state: Path) -> bytes:
    """32 bytes that seal envelopes, from `state`/seal.key; gateways that share the folder share it. Raises OSError."""
    path = state / "seal.key"
    for _ in range(2):
        with suppress(FileNotFoundError):
            if len(key := path.read_bytes()) == _SEALING:
                return key
            path.unlink()  # cut short by a crash
        made = state / f"seal.{secrets.token_hex(8)}"
        _keep(state, made.name, secrets.token_bytes(_SEALING))
        with suppress(FileExistsError):  # another gateway was faster: its key counts
            os.link(made, path)
        made.unlink()
    return path.read_bytes()

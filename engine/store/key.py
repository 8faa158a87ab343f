"""The key that local clients present. From the environment, else made once and kept readable by its owner only."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

VARIABLE = "STACKBILT_GATEWAY_KEY"

SALT_BYTES = 32


def gateway_key(state: Path, environ: Mapping[str, str]) -> tuple[str, bool]:
    """(key, whether it came from the environment). Makes `state`/key with mode 0600 at first. Raises OSError."""
    if key := environ.get(VARIABLE, "").strip():
        return key, True
    try:
        if key := (state / "key").read_text("ascii").strip():
            return key, False
    except FileNotFoundError:
        pass
    key = "sbgw-" + secrets.token_urlsafe(24)
    _keep(state, "key", key.encode() + b"\n")
    return key, False


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

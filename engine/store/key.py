"""The key that local clients present. From the environment, else made once and kept readable by its owner only."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

VARIABLE = "STACKBILT_GATEWAY_KEY"


def gateway_key(state: Path, environ: Mapping[str, str]) -> tuple[str, bool]:
    """(key, whether it came from the environment). Makes `state`/key with mode 0600 at first. Raises OSError."""
    if key := environ.get(VARIABLE, "").strip():
        return key, True
    path = state / "key"
    try:
        if key := path.read_text("ascii").strip():
            return key, False
    except FileNotFoundError:
        pass
    key = "sbgw-" + secrets.token_urlsafe(24)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key + "\n")
    return key, False

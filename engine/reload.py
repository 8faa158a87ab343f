"""Hot reload: a saved policy serves within a second, a broken one never does.

Files are polled, not watched: editors replace, rename and truncate in many ways, and ten `stat` calls twice a second cost
nothing. What counts is content: the policy is loaded anew only when some file's bytes differ, and swapped in only when it
passes every check. Requests under way finish on the policy they began with.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from engine.gateway import Gateway, ReloadState
from engine.policy.model import Policy
from engine.policy.problems import PolicyInvalid

POLL = 0.4
"""Seconds between two looks at the files."""

SETTLE = 0.15
"""Seconds the files must stay the same before they are read: editors write in pieces."""

_FIXED = ("host", "port", "auth", "telemetry_enabled")
"""Settings that need a restart."""


class Reloader:
    """Keeps a gateway on the newest good version of its policy files."""

    def __init__(
        self, gateway: Gateway, load: Callable[[], Policy], *, extra: Iterable[Path] = (), log: Callable[..., None]
    ) -> None:
        """`load` reads the policy anew and raises PolicyInvalid; `extra` are files beside the policy's own sources."""
        self._gateway = gateway
        self._load = load
        self._extra = tuple(extra)
        self._log = log
        self._seen = self._stamps()
        self._content = self._digest()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(POLL)
            await self.look()

    async def look(self) -> bool:
        """One look; True when another policy has been taken over."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        await asyncio.sleep(SETTLE)
        if (settled := self._stamps()) != stamps:
            return False  # still being written; the next look sees it
        self._seen = settled
        content = self._digest()
        if content == self._content:
            return False
        self._content = content
        return await self._take_over()

    async def _take_over(self) -> bool:
        before, now = self._gateway.reload, self._gateway.services.now()
        try:
            policy = await asyncio.to_thread(self._load)
            old = self._gateway.loaded.policy
            self._gateway.swap(policy)
        except PolicyInvalid as error:
            self._gateway.reload = ReloadState(False, before.count, before.failures + 1, now, error.message)
            self._log("policy_refused", error_at=error.message, keeps=self._gateway.loaded.policy.label)
            return False
        self._gateway.reload = ReloadState(True, before.count + 1, before.failures, now)
        self._seen = self._stamps()
        waiting = [name for name in _FIXED if getattr(old.settings, name) != getattr(policy.settings, name)]
        self._log("policy_reloaded", policy=policy.label, before=old.label, needs_restart=waiting)
        return True

    def _files(self) -> list[Path]:
        return [*map(Path, self._gateway.loaded.policy.sources), *self._extra]

    def _stamps(self) -> tuple[object, ...]:
        stamps: list[object] = []
        for path in self._files():
            try:
                status = path.stat()
                stamps.append((str(path), status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                stamps.append((str(path), "missing"))
        return tuple(stamps)

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for path in self._files():
            try:
                digest.update(path.read_bytes())
            except OSError:
                digest.update(b"missing")
            digest.update(b"\0")
        return digest.hexdigest()

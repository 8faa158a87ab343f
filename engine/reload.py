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

_FIXED = ("host", "port", "auth", "telemetry_enabled", "otlp_endpoint", "governance_file", "governance_url")
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
        self._faulty: tuple[Path, ...] = ()
        """Files that the problems of a refused policy stand in; the one that serves need not know them."""
        self._seen: dict[Path, object] = {}
        self._content: dict[Path, bytes] = {}
        self._watch()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(POLL)
            try:
                await self.look()
            except Exception as error:  # noqa: BLE001 (the task's boundary: it has to look again, whatever one look met)
                self._refused(f"the policy could not be read ({type(error).__name__})")
                self._log("defect", stage="reload", kind=type(error).__name__, error=error)

    async def look(self) -> bool:
        """One look; True when another policy has been taken over."""
        stamps = {path: _stamp(path) for path in self._seen}
        if stamps == self._seen:
            return False
        await asyncio.sleep(SETTLE)
        if stamps != {path: _stamp(path) for path in stamps}:
            return False  # still being written; the next look sees it
        self._seen = stamps
        content = {path: _digest(path) for path in stamps}
        if content == self._content:
            return False
        self._content = content
        try:
            return await self._take_over()
        finally:
            self._watch()

    async def _take_over(self) -> bool:
        gateway = self._gateway
        old = gateway.loaded.policy
        try:
            policy = await asyncio.to_thread(self._load)
            if same := policy.digest == old.digest:
                policy = old
            else:
                gateway.swap(policy)
        except PolicyInvalid as error:
            self._faulty = tuple({Path(problem.span.file) for problem in error.problems})
            self._refused(error.message)
            self._log("policy_refused", error_at=error.message, keeps=gateway.loaded.policy.label)
            return False
        self._faulty = ()
        before = gateway.reload
        gateway.reload = ReloadState(True, before.count + (not same), before.failures, gateway.services.now())
        waiting = [name for name in _FIXED if getattr(old.settings, name) != getattr(policy.settings, name)]
        self._log("policy_reloaded", policy=policy.label, before=old.label, needs_restart=waiting)
        return not same

    def _refused(self, reason: str) -> None:
        """What is on disk does not serve."""
        before, now = self._gateway.reload, self._gateway.services.now()
        self._gateway.reload = ReloadState(False, before.count, before.failures + 1, now, reason)

    def _watch(self) -> None:
        """Look at the files that count now. What is known of a file stays, so that a change since then is still one."""
        files = dict.fromkeys([*map(Path, self._gateway.loaded.policy.sources), *self._extra, *self._faulty])
        self._seen = {path: self._seen.get(path) or _stamp(path) for path in files}
        self._content = {path: self._content.get(path) or _digest(path) for path in files}


def _stamp(path: Path) -> object:
    """Differs when the file may have changed."""
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return status.st_mtime_ns, status.st_size, status.st_ino


def _digest(path: Path) -> bytes:
    """Differs when the file has changed."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return b"missing"

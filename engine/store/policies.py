"""Policies that requests were decided by, kept beside the ledger so that an old event can be explained.

One JSON file per digest, readable by the owner only, written whole or not at all; of more than `KEPT` the oldest go.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import orjson

from engine.policy.model import Policy
from engine.policy.stored import StoredPolicyInvalid, policy_of, stored_json

KEPT = 100
"""Policies kept on disk."""

_COMPILED = 8
"""Policies kept compiled in memory: each takes a tenth of a second to compile."""

_DIGEST = re.compile(r"[0-9a-f]{12}")


class PolicyStore:
    """The policies of one state folder. Reading and writing block for some milliseconds."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "policies"
        self._compiled: OrderedDict[str, Policy] = OrderedDict()

    def save(self, policy: Policy) -> None:
        """Keep `policy`. Raises OSError; what was kept before is not harmed then."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(policy.digest[:12])
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".json", dir=self._folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(orjson.dumps(stored_json(policy)))
            Path(temporary).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(temporary).unlink()
            raise
        self._remember(policy.digest[:12], policy)
        self._prune()

    def load(self, label: str) -> Policy | None:
        """The policy of a label (`name@digest`); None when it is not kept. Raises StoredPolicyInvalid, OSError."""
        digest = label.rpartition("@")[2]
        if not _DIGEST.fullmatch(digest):
            return None
        known = self._compiled.get(digest)
        if known is not None:
            return known
        try:
            data = orjson.loads(self._path(digest).read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError:
            raise StoredPolicyInvalid("it is damaged") from None
        policy = policy_of(data if isinstance(data, dict) else {})
        self._remember(digest, policy)
        return policy

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.json"

    def _remember(self, digest: str, policy: Policy) -> None:
        self._compiled[digest] = policy
        self._compiled.move_to_end(digest)
        if len(self._compiled) > _COMPILED:
            self._compiled.popitem(last=False)

    def _prune(self) -> None:
        kept = sorted(self._folder.glob("[0-9a-f]*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in kept[KEPT:]:
            with suppress(OSError):
                path.unlink()

"""Which policy a command line means, and how to read it anew when its files change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.policy.model import Policy


@dataclass(slots=True)
class PolicySource:
    """A policy by name or path, with the gateway.config.json that is laid over it."""

    ref: str | None
    config: Path | None = None
    trusted: bool = False
    """The configuration was named by the user, so all of it applies."""
    keys: tuple[str, ...] = ()
    """Keys for this gateway that the configuration holds, known after `load`."""
    notes: tuple[str, ...] = ()
    """What the configuration says that has another meaning here, known after `load`."""

    @classmethod
    def find(cls, ref: str | None, config: Path | None) -> PolicySource:
        """The source that `--policy` and `--config` mean; without `--config` the working directory is looked through."""
        from engine.policy.gateway_config import find_config

        return cls(ref, config or find_config(Path.cwd()), trusted=config is not None)

    def load(self) -> Policy:
        """Read it. Raises PolicyInvalid."""
        from engine.policy.gateway_config import read_config
        from engine.policy.load import load_policy

        if self.config is None:
            return load_policy(self.ref or "default")
        config = read_config(self.config, trusted=self.trusted)
        self.keys, self.notes = config.keys, config.notes
        return load_policy(self.ref or config.policy, overlay=config.root)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files beside the policy's own that it is made of."""
        return () if self.config is None else (self.config,)

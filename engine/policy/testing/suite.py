"""A file of tests as data: read, checked and ready to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.policy.case import Case, ProviderState
from engine.policy.decision import Facts
from engine.policy.model import Policy
from engine.policy.problems import Span

Walk = Callable[[Facts, Mapping[str, ProviderState]], tuple[Case, tuple[str, ...]]]
"""How one policy decides: the decided case, and the path through its stage graph if it was asked for."""


@dataclass(slots=True, frozen=True, eq=False)
class Scenario:
    """One test: a request, the world around it, and what must be decided."""

    name: str
    span: Span
    """Where its name stands."""
    given: Mapping[str, Any]
    """The schema's `given`: the file's with the test's own laid over it."""
    expect: Mapping[str, Any]
    places: Mapping[str, Span]
    """Expectation → where it stands."""


@dataclass(slots=True, frozen=True, eq=False)
class Suite:
    """The tests of one file, all names in them known to the policy."""

    file: str
    policy: Policy
    scenarios: tuple[Scenario, ...]

    @property
    def policy_file(self) -> str:
        """The tested policy's own file, as problems show it."""
        return self.policy.sources[-1]


@dataclass(slots=True, frozen=True)
class Mismatch:
    """One expectation that is not met, in words for people."""

    key: str
    """`model`, `dropped.groq` …"""
    expected: str
    actual: str
    span: Span

"""What a stage is.

A stage kind declares what it `needs`, what it `makes`, and by which named `exits` it may leave (with what is made there);
the pipeline proves from that, at load, that every path works. A `pure` stage only decides: `decide` is its whole work, the
live request and a dry run use the same. Packages may add stages under the entry point group `sbgw.stages`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from engine.exchange import Exchange, Services
from engine.policy.decide import Case

if TYPE_CHECKING:
    from engine.policy.model import Policy


class Stage:
    """A step's work. Subclasses set the class attributes and override `run`, or `decide` for a pure one.

    What is made is a name from: request, class, candidates, answer, outcome, reply.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    makes: ClassVar[frozenset[str]] = frozenset()
    exits: ClassVar[Mapping[str, frozenset[str]]] = {}
    pure: ClassVar[bool] = False
    continues: ClassVar[bool] = True
    """False when a step never hands on to the one after it."""
    failing: ClassVar[str | None] = None
    """The exit taken when `run` raises."""

    def __init__(self, policy: Policy, settings: Mapping[str, Any]) -> None:
        """`settings` is the step's `with:`. Raises ValueError for settings the stage does not know."""
        if settings:
            raise ValueError(f"takes no settings, not '{next(iter(settings))}'")

    async def run(self, exchange: Exchange, services: Services) -> str | None:
        """Do the stage's work; the exit to leave by, None to go on. A GatewayError raised leaves by `failing`."""
        assert exchange.case is not None
        return self.decide(exchange.case)

    def decide(self, case: Case) -> str | None:
        """A pure stage's work."""
        raise NotImplementedError

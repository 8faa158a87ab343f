"""Options that choose events, the same for every command that lists them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engine.cli.spans import SINCE

if TYPE_CHECKING:
    from engine.store.rows import Filter

_F = TypeVar("_F", bound=Callable[..., Any])

_STATUSES = ("open", "success", "fallback_success", "error", "cancelled", "interrupted")

_OPTIONS = (
    click.option("--since", type=SINCE, help="Only newer ones: 90m, 12h, 7d, 2w or a date."),
    click.option("--until", type=SINCE, help="Only older ones."),
    click.option("--status", type=click.Choice(_STATUSES), help="How they ended."),
    click.option("--session", help="The client's session."),
    click.option("--client", help="claude-code, codex, ..."),
    click.option("--agent", help="The sub-agent that asked."),
    click.option("--project", help="The project they belong to."),
    click.option("--key", help="Name of the gateway's key that they presented."),
    click.option("--class", "route_class", help="Their class."),
    click.option("--provider", help="Who answered."),
    click.option("--model", help="With which model."),
)


def filter_options(command: _F) -> _F:
    """Give `command` the options; it takes them as keywords and hands them to `chosen`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def chosen(**given: Any) -> Filter:
    """The filter that the options ask for."""
    from engine.store.rows import Filter

    return Filter(**given)

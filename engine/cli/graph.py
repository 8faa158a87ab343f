"""`sbgw graph`: a policy as a picture, and the way a request took through it."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.explain import explanation_of, policy_for, priced
from engine.cli.places import state_folder, state_option
from engine.cli.screen import USAGE, fail


@click.command()
@click.argument("policy", required=False, metavar="[POLICY]")
@click.option(
    "--format", "form", type=click.Choice(["text", "mermaid", "dot", "svg"]), default="text", show_default=True
)
@click.option("--event", "event_id", metavar="EVENT_ID|last", help="Mark the way of a recorded request; without POLICY, through the policy of its time.")  # fmt: skip
@state_option
def graph(policy: str | None, form: str, event_id: str | None, state_dir: Path | None) -> None:
    """Draw a policy: its stages and their exits, its classes, and the models of their routes.

    \b
    Examples:
      sbgw graph
      sbgw graph mine.yaml --format svg > mine.svg
      sbgw graph --event last
    """
    from engine.cli.graphs.chart import chart
    from engine.pipeline import compile_pipeline

    if event_id is None:
        drawn = chart(compile_pipeline(priced(policy)))
    else:
        from engine.cli.subject import find

        state = state_folder(state_dir)
        subject = find(event_id, state, "unknown")
        if subject.event is None:
            fail("--event takes a recorded request", "`sbgw events` lists them", USAGE)
        asked = policy_for(subject, policy, state)
        really = subject.event.path if subject.event.policy == asked.label else ()
        path = (*really, asked.steps[-1].id) if really else ()
        drawn = chart(compile_pipeline(asked), explanation_of(subject, asked), path)
    match form:
        case "text":
            from engine.cli.graphs.text import as_text
            from engine.cli.layout import columns

            for line in as_text(drawn, width=columns()):
                click.echo(line)
        case "svg":
            from engine.cli.graphs.svg import as_svg

            click.echo(as_svg(drawn), nl=False)
        case _:
            from engine.cli.graphs.languages import as_dot, as_mermaid

            click.echo("\n".join((as_mermaid if form == "mermaid" else as_dot)(drawn)))

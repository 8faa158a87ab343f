"""The stage graph: a policy's list of steps, proved at load, run once per request.

    decode → classify → gate → cache → dispatch → encode → record

A step may leave by a named exit, which jumps forward, never back, so nothing loops. `record` is not jumped over: it runs
after every end, exactly once, a client that left and a defect of ours included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from engine.exchange import Exchange, Services
from engine.llm.errors import GatewayError, InternalError
from engine.policy.decide import Case, ProviderState, begin, finish
from engine.policy.decision import Decision, Facts
from engine.policy.model import Policy, Step
from engine.policy.problems import PolicyInvalid, Problem
from engine.policy.suggest import did_you_mean
from engine.stages import BUILT_IN
from engine.stages.encode import error_reply
from engine.stages.stage import Stage


@dataclass(slots=True, frozen=True)
class CompiledStep:
    id: str
    stage: Stage
    step: Step
    exits: Mapping[str, int]
    """exit → index of the step it jumps to."""


class Pipeline:
    """A policy's compiled stage graph. Immutable; a reload makes a new one."""

    def __init__(self, policy: Policy, steps: tuple[CompiledStep, ...]) -> None:
        self.policy = policy
        self.steps = steps

    async def run(self, exchange: Exchange, services: Services) -> None:
        """Take `exchange` through the graph. Never raises, but for the client's leaving (CancelledError), which is recorded."""
        *working, last = self.steps
        try:
            at = 0
            while at < len(working):
                at = await self._step(working[at], at, exchange, services)
        except (asyncio.CancelledError, ConnectionError):
            exchange.cancelled = True
            raise
        finally:
            if exchange.stream is not None:
                await exchange.stream.end()
            if exchange.answer is not None:
                exchange.answer.upstream.close()
            if exchange.reply is None:
                exchange.reply = error_reply(exchange)
            await self._record(last, exchange, services)

    async def _record(self, last: CompiledStep, exchange: Exchange, services: Services) -> None:
        """The last step; a defect of its own costs the event alone.

        The event is owed even when this task is being cancelled: `record` hands it over before it waits for anything.
        """
        try:
            await last.stage.run(exchange, services)
        except Exception as error:  # noqa: BLE001 (the request boundary: the answer is there, and stays)
            services.log("defect", event_id=exchange.id, stage=last.id, kind=type(error).__name__, error=error)

    async def _step(self, compiled: CompiledStep, at: int, exchange: Exchange, services: Services) -> int:
        """Run one step; the index of the next."""
        if compiled.step.when is not None and not compiled.step.when.holds(_facts(exchange)):
            return at + 1
        try:
            taken = await compiled.stage.run(exchange, services)
        except GatewayError as error:
            exchange.error, taken = error, compiled.stage.failing
        except (asyncio.CancelledError, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 (the request boundary: a defect costs this request, not the gateway)
            services.log("defect", event_id=exchange.id, stage=compiled.id, kind=type(error).__name__, error=error)
            exchange.error = InternalError(f"the gateway failed in stage {compiled.id} (event {exchange.id})")
            taken = compiled.stage.failing
        if taken is None:
            exchange.path.append(compiled.id)
            return at + 1
        exchange.path.append(f"{compiled.id}.{taken}")
        return compiled.exits.get(taken, at + 1)

    def decide(self, facts: Facts, availability: Mapping[str, ProviderState]) -> Decision:
        """What the policy says about `facts`: the same stages, the effectful ones skipped. Pure."""
        return finish(self.walk(facts, availability)[0])

    def walk(self, facts: Facts, availability: Mapping[str, ProviderState]) -> tuple[Case, tuple[str, ...]]:
        """The decided case, and the path as an event records it, as if all that is not decided went well."""
        case = begin(self.policy, facts, availability)
        path: list[str] = []
        at = 0
        while at < len(self.steps):
            compiled = self.steps[at]
            at += 1
            if compiled.step.when is not None and not compiled.step.when.holds(case.facts):
                continue
            taken = compiled.stage.decide(case) if compiled.stage.pure else None
            if taken is not None:
                at = compiled.exits.get(taken, at)
            path.append(compiled.id if taken is None else f"{compiled.id}.{taken}")
        return case, tuple(path)


def _facts(exchange: Exchange) -> Facts:
    """The facts with the policy's variables filled in, as far as there is a case already."""
    return exchange.case.facts if exchange.case is not None else exchange.facts


def compile_pipeline(policy: Policy) -> Pipeline:
    """Build the graph of `policy`. Raises PolicyInvalid with every problem of the graph."""
    pipeline, problems = _compile(policy)
    if any(problem.level == "error" for problem in problems):
        raise PolicyInvalid(problems)
    return pipeline


def check_pipeline(policy: Policy) -> list[Problem]:
    """Every problem of the policy's stage graph."""
    return _compile(policy)[1]


def _compile(policy: Policy) -> tuple[Pipeline, list[Problem]]:
    kinds = stage_kinds({step.use for step in policy.steps})
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    steps: list[CompiledStep] = []
    for at, step in enumerate(policy.steps):
        if step.id in seen:
            problems.append(
                Problem(step.span, "graph-id", f"step id '{step.id}' is used twice", hint="give one of them an `id`")
            )
        seen.setdefault(step.id, at)
    for at, step in enumerate(policy.steps):
        kind = kinds.get(step.use)
        if kind is None:
            message = f"no stage '{step.use}'{did_you_mean(step.use, kinds)}"
            problems.append(Problem(step.span, "graph-stage", message, hint="stages: " + ", ".join(kinds)))
            continue
        exits = _exits(kind, step, at, seen, problems)
        try:
            steps.append(CompiledStep(step.id, kind(policy, step.settings), step, exits))
        except ValueError as error:
            problems.append(Problem(step.span, "graph-with", f"{step.id}: {error}"))
    if len(steps) == len(policy.steps) == len(seen):
        problems += _prove(steps)
    return Pipeline(policy, tuple(steps)), problems


def _exits(
    stage: type[Stage], step: Step, at: int, places: Mapping[str, int], problems: list[Problem]
) -> dict[str, int]:
    """Where each exit of the stage leads: as the step says, else to the next `encode`."""
    encode = next((i for name, i in places.items() if i > at and name == "encode"), None)
    targets: dict[str, int] = {} if encode is None else dict.fromkeys(stage.exits, encode)
    for name, (target, span) in step.on.items():
        if name not in stage.exits:
            known = ", ".join(sorted(stage.exits)) or "none"
            problems.append(
                Problem(
                    span,
                    "graph-exit",
                    f"stage '{step.use}' has no exit '{name}'{did_you_mean(name, stage.exits)}",
                    hint=f"its exits: {known}",
                )
            )
        elif target not in places:
            problems.append(
                Problem(span, "graph-exit", f"exit '{name}' leads to no step: '{target}'{did_you_mean(target, places)}")
            )
        elif places[target] <= at:
            problems.append(
                Problem(span, "graph-exit", f"exit '{name}' leads back to '{target}': exits jump forward only")
            )
        else:
            targets[name] = places[target]
    return targets


def _prove(steps: list[CompiledStep]) -> list[Problem]:
    """That needs are met along every path, `decode` is first, `record` last and nothing is out of reach."""
    problems: list[Problem] = []
    first, last = steps[0].step, steps[-1].step
    if first.use != "decode" or first.when is not None:
        problems.append(Problem(first.span, "graph-order", "the pipeline starts with `decode`, without `when`"))
    if last.use != "record" or last.when is not None:
        problems.append(Problem(last.span, "graph-order", "the pipeline ends with `record`, without `when`"))
    problems += [
        Problem(s.step.span, "graph-order", f"`{s.step.use}` may stand only once, at the pipeline's end")
        for s in steps[:-1]
        if s.step.use == "record"
    ]
    problems += [
        Problem(s.step.span, "graph-order", "`decode` may stand only once, first")
        for s in steps[1:]
        if s.step.use == "decode"
    ]
    made: list[frozenset[str] | None] = [None] * len(steps)
    made[0] = frozenset()
    for at, compiled in enumerate(steps):
        have = made[at]
        span = compiled.step.span
        if have is None:
            problems.append(Problem(span, "graph-unreachable", f"step '{compiled.id}' is never reached"))
            continue
        for need in sorted(compiled.stage.needs - have):
            message = f"step '{compiled.id}' needs {need}, which is not made on every path to it"
            problems.append(Problem(span, "graph-needs", message, hint=_made_by(need)))
        for target, makes in _edges(compiled, at):
            if target < len(steps):
                earlier = made[target]
                made[target] = makes(have) if earlier is None else earlier & makes(have)
    return problems


def _made_by(need: str) -> str:
    makers = [name for name, kind in BUILT_IN.items() if need in kind.makes.union(*kind.exits.values())]
    return f"made by {' or '.join(makers)}" if makers else ""


def _edges(compiled: CompiledStep, at: int) -> Iterator[tuple[int, Any]]:
    """(target, what is made there) for each way out of a step."""
    stage = compiled.stage
    if stage.continues:
        yield at + 1, lambda have: have | stage.makes
    if compiled.step.when is not None:
        yield at + 1, lambda have: have
    for name, target in compiled.exits.items():
        yield target, lambda have, name=name: have | stage.exits[name]


def stage_kinds(wanted: AbstractSet[str]) -> dict[str, type[Stage]]:
    """Our stages by name and, if `wanted` names others, those that installed packages offer as `sbgw.stages`."""
    kinds = dict(BUILT_IN)
    if wanted - kinds.keys():  # reading all installed packages takes tens of milliseconds
        for entry in entry_points(group="sbgw.stages"):
            kinds.setdefault(entry.name, entry.load())
    return kinds

"""The start screen of `sbgw run`: everything needed to connect, on one screen."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from engine.cli.clients import short
from engine.cli.screen import safe_lines
from engine.cli.setup import key_expression
from engine.gateway import Gateway
from engine.policy.endings import endings


def screen(gateway: Gateway, url: str, state: Path, *, from_environment: bool, chosen: bool = False) -> str:
    """The text; `chosen`: the state folder is not the usual one, so commands have to name it. Keys are never in it, only where they come from."""
    policy, services = gateway.loaded.policy, gateway.services
    named = {entry.use.partition("/")[0] for route in policy.routes.values() for entry in route.entries}
    ready: list[str] = []
    local: list[str] = []
    wanting: list[str] = []
    for provider in policy.providers.values():
        if not provider.enabled:
            continue
        missing = services.credentials.missing(provider)
        if missing:
            wanting.append(f"{provider.name} ({', '.join(missing)})")
        elif provider.local and not provider.simulated:
            local.append(provider.name)
        elif not provider.simulated or provider.name in named:
            ready.append(provider.name)
    warnings = sum(problem.level == "warning" for problem in policy.warnings)
    settings, ledger, couriers = policy.settings, state / "ledger.sqlite", services.exports.couriers
    key = key_expression(state if chosen else None)
    lines = [
        f"policy      {policy.label}" + (f"   {warnings} warnings: `sbgw check`" if warnings else ""),
        *(f"ending      {model.ref} {words}" for model, words in endings(policy, date.today())),  # noqa: DTZ011
        f"providers   ready: {', '.join(ready) or 'none'}",
        *_wrapped("            local, not asked whether they run: ", local),
        *_wrapped("            no key: ", wanting),
        f"key         {'STACKBILT_GATEWAY_KEY' if from_environment else state / 'key'}"
        + ("" if policy.settings.auth == "local-key" else "   (authentication is off)"),
        f"records     {f'{ledger}   (no prompt text; `sbgw events`)' if settings.telemetry_enabled else 'none, telemetry is off'}",
        *_kept_texts(gateway, state),
        *(["exports     " + ", ".join(courier.name for courier in couriers)] if couriers else []),
        "",
        "Claude Code:",
        *("  " + line for line in short("claude-code", url=url, key=key).splitlines()),
        "Codex (more: sbgw setup codex):",
        *("  " + line for line in short("codex", url=url, key=key).splitlines()),
        "",
    ]
    return safe_lines("\n".join(lines))


def _kept_texts(gateway: Gateway, state: Path) -> list[str]:
    """Whose prompts are kept, when any are: nobody should find that out afterwards."""
    policy, traces = gateway.loaded.policy, gateway.services.traces
    if traces is None:
        return []
    if traces.everything or policy.settings.store_prompts:
        return [f"traces      {state / 'traces'}   (all prompts and answers, secrets taken out; `sbgw trace`)"]
    rules = ", ".join(rule.id for rule in policy.trace if not rule.shadow)
    return (
        [f"traces      {state / 'traces'}   (prompts and answers by the rules {rules}; `sbgw trace`)"] if rules else []
    )


def _wrapped(head: str, items: list[str], width: int = 100) -> list[str]:
    """`items` after `head`, broken at `width`."""
    lines: list[str] = []
    line = head
    for at, item in enumerate(items):
        piece = item + (", " if at < len(items) - 1 else "")
        if len(line) + len(piece) > width and line.strip() != head.strip():
            lines.append(line.rstrip())
            line = " " * len(head)
        line += piece
    return [*lines, line.rstrip()] if items else []

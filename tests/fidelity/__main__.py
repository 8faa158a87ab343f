# ruff: noqa: T201 - a report for people
"""How every recorded exchange and every captured request fares between the protocols: `python -m tests.fidelity [--full]`.

Three tables, one line for each pair: answers as the official SDKs read them, requests as the strict emulator takes them, errors.
`--full` also lists what was declared, by name. Exit code 1 if a single difference is silent.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator

from engine.llm.errors import ProviderError
from engine.llm.losses import severity
from engine.protocols.registry import PROTOCOLS as WIRES
from tests.fidelity import answers, requests
from tests.fidelity.answers import MADE_UP
from tests.fidelity.clients import Sdks
from tests.fidelity.corpus import PROTOCOLS, captures, exchanges, others
from tests.fidelity.expected import DECLARED

EVERY = [(client, wire) for wire in PROTOCOLS for client in PROTOCOLS]


def main(arguments: list[str]) -> int:
    """Prints the report. The exit code."""
    full = "--full" in arguments
    wrong = [line for part in (_answers, _requests, _errors) for line in part(full=full)]
    print(f"\nsilent differences: {len(wrong)}")
    for line in wrong[:50]:
        print(f"  {line}")
    return 1 if wrong else 0


def _answers(*, full: bool) -> Iterator[str]:
    every = [e for wire in PROTOCOLS for e in exchanges(wire)]
    errors, made_up = sum(e.status != 200 for e in every), sum(e.status == 200 and e.capture in MADE_UP for e in every)
    elsewhere = Counter(exchange.protocol for exchange, _ in others())
    print(f"of other wires and endpoints (tests/fidelity/test_other_wires.py): {elsewhere.total()}: ", end="")
    print(", ".join(f"{count} {kind}" for kind, count in elsewhere.most_common()))
    print(f"recorded exchanges: {len(every)}, of them {errors} errors and {made_up} put together by hand")
    print(f"\n{'answer of':20} {'read by':20} {'mode':7} {'tried':>6} {'as said':>8} {'declared':>9} {'silent':>7}")
    sdks, reasons = Sdks(), Counter[str]()
    for client, wire in EVERY:
        for mode in ("whole", "stream", "retold"):
            tally = answers.Tally()
            for exchange in every:
                usable = exchange.protocol == wire and exchange.status == 200 and exchange.capture not in MADE_UP
                if usable and exchange.streamed == (mode == "stream"):
                    answers.judge(exchange, client, sdks, tally, stream=mode != "whole")
            reasons += tally.declared
            plain = tally.passed - tally.deviating
            silent = tally.tried - tally.passed
            print(f"{wire:20} {client:20} {mode:7} {tally.tried:6} {plain:8} {tally.deviating:9} {silent:7}")
            yield from (f"{wire} → {client} {mode}: {line}" for line in tally.wrong)
    if full:
        for name, count in sorted(reasons.items()):
            print(f"  {name} ({count} answers): {DECLARED[name]}")


def _requests(*, full: bool) -> Iterator[str]:
    print(
        f"\n{'request of':20} {'sent as':20} {'tried':>6} {'accepted and whole':>19} {'with losses':>12} {'silent':>7}"
    )
    listed = [(p, name, body) for name, p, body in captures()]
    listed += [
        (e.protocol, e.short, e.request) for p in PROTOCOLS for e in exchanges(p) if e.request and e.status == 200
    ]
    codes: Counter[str] = Counter()
    for client, wire in EVERY:
        if client == wire:
            continue
        tally = requests.Tally()
        for protocol, name, body in listed:
            if protocol == client:
                requests.judge(name, body, client, wire, tally)
        codes += tally.losses
        silent = tally.tried - tally.passed + len(tally.refused)
        whole = tally.passed - len(tally.refused) - tally.lossy
        print(f"{client:20} {wire:20} {tally.tried:6} {whole:19} {tally.lossy:12} {silent:7}")
        yield from (f"{client} → {wire}: {line}" for line in (*tally.wrong, *tally.refused))
    if full:
        for code, count in sorted(codes.items()):
            print(f"  {code} ({severity(code)}, {count} requests)")


def _errors(*, full: bool) -> Iterator[str]:
    print(f"\n{'error of':20} {'tried':>6} {'kinds'}")
    for wire in PROTOCOLS:
        kinds: Counter[str] = Counter()
        for exchange in exchanges(wire):
            if exchange.status == 200:
                continue
            error = WIRES[wire].decode_error(exchange.status, exchange.raw, exchange.headers)
            if not isinstance(error, ProviderError) or not error.message:
                yield f"{wire}: {exchange.short}: an error without words"
            kinds[error.meaning] += 1
        named = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) if full else f"{len(kinds)} kinds"
        print(f"{wire:20} {kinds.total():6} {named}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

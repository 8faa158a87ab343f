"""`python -m tests.emulator --port 9100 [--profile strict] [--key K] [--folder DIR]`: an emulated vendor to try things with."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.emulator.chat_profiles import PROFILES
from tests.emulator.emulator import Emulator
from tests.emulator.script import Script, Turn, tool_loop


async def serve(options: argparse.Namespace) -> None:
    """Run until interrupted, one line for each request."""
    script = tool_loop(options.folder).script if options.folder else Script((Turn("Hello from the emulator."),))
    async with Emulator(script, options.profile, key=options.key, port=options.port, pace=options.pace) as emulator:
        for wire in ("anthropic-messages", "openai-responses", "openai-chat"):
            _say(f"{wire}: {emulator.url(wire)}")
        told = 0
        while True:
            await asyncio.sleep(0.2)
            for seen in emulator.requests[told:]:
                _say(f"{seen.wire}: {seen.verdict or 'accepted'}")
            told = len(emulator.requests)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9100)
    parser.add_argument("--profile", choices=sorted(PROFILES), default="openai")
    parser.add_argument("--key", default="sk-emu")
    parser.add_argument("--pace", type=float, default=0.0)
    parser.add_argument("--folder", type=Path, help="play the tool loop on files in this folder")
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()

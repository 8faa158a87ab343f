"""Child processes of a measurement: start them, know what they use, end them."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

_LISTENING = re.compile(r"listening on (http://\S+)")


def compiled() -> dict[str, str]:
    """Environment of a child whose Python finds its modules compiled, as those of an installed package are, wherever it runs."""
    folder = Path(tempfile.gettempdir()) / f"sbgw-compiled-{os.getuid()}"
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder)}


class Server:
    """A child process that prints where it listens. Use it as a context manager."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
    ) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed with the process
        started = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self._errors, text=True, env={**os.environ, **(env or {})}, cwd=cwd
        )
        self.url = self._where()
        self.ready_seconds = time.perf_counter() - started

    def _where(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if found := _LISTENING.search(line):
                return found[1]
        self._process.wait()
        self._errors.seek(0)
        raise RuntimeError(f"{self._process.args!r} did not start:\n{self._errors.read()[-2000:]}")

    def cpu_seconds(self) -> float:
        """CPU time of all its threads so far."""
        total = 0
        for path in Path(f"/proc/{self._process.pid}/task").glob("*/schedstat"):
            total += int(path.read_text().split()[0])
        return total / 1e9

    def memory_mb(self) -> float:
        """Resident memory."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]

    def kill(self) -> None:
        """End it at once, without a chance to do anything."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

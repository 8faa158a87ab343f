"""How long redaction takes: `python -m tests.bench.bench_redaction`. Milliseconds of CPU per 100 kB, the best of five."""

from __future__ import annotations

import random
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path

from engine.store.redaction import Redactor
from tests.store.secrets_made import CARRIERS, KINDS, samples


def measure(work: Callable[[], object], size: int) -> float:
    """Milliseconds per 100 kB."""
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        work()
        best = min(best, time.process_time() - began)
    return best * 1000 / (size / 100_000)


def main() -> None:
    library = Path(sysconfig.get_paths()["stdlib"])
    code = b"".join(path.read_bytes() for path in sorted(library.glob("*.py")))[:2_000_000]
    made = [CARRIERS["env"](*sample[:2]) for kind in KINDS for sample in samples(kind, 50)]
    secrets = "".join(made).encode()
    mixed = code[:1_000_000] + secrets
    redactor = Redactor(["a-key-of-the-gateway-itself"])
    random.Random(1).shuffle(made)
    turns = "".join(made).encode()
    for name, data in (
        ("code", code), ("code and 1 secret in 400 bytes", mixed), ("secrets alone, by kind", secrets),
        ("secrets alone, kinds in turn", turns),
    ):  # fmt: skip
        sys.stdout.write(
            f"{name:32} {measure(lambda data=data: redactor.redact(data), len(data)):6.2f} ms per 100 kB\n"
        )


if __name__ == "__main__":
    main()

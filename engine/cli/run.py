"""`sbgw run`: serve until told to stop."""

from __future__ import annotations

import asyncio
import errno
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.places import policy_option, state_folder, state_option
from engine.cli.policy_source import PolicySource
from engine.cli.screen import fail, invalid_policy, safe
from engine.llm.errors import GatewayError
from engine.policy.problems import PolicyInvalid

if TYPE_CHECKING:
    from engine.policy.model import Policy


@click.command()
@policy_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=None,
    help="Port to listen on (default: the policy's, 8787). 0: any free one.",
)
@click.option(
    "--host", default=None, help="Address to bind (default: 127.0.0.1). Anything but loopback needs authentication."
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A gateway.config.json to apply in full.",
)
@click.option(
    "--shadow",
    metavar="NAME|FILE",
    help="A second policy that only watches: its decisions are recorded beside the real ones (`sbgw shadow`).",
)
@click.option(
    "--trace",
    is_flag=True,
    help="Keep all prompts and answers as traces, secrets taken out (`sbgw trace`). Without it none is kept.",
)
@state_option
def run(
    policy: str | None,
    port: int | None,
    host: str | None,
    config: Path | None,
    shadow: str | None,
    trace: bool,
    state_dir: Path | None,
) -> None:
    """Serve agents on localhost by a policy.

    \b
    Examples:
      sbgw run                                 the default policy on http://localhost:8787
      sbgw run --policy thrifty                a shipped policy
      sbgw run --policy policies/mine.yaml     your own
      sbgw run --shadow policies/next.yaml     serve by default, watch what next.yaml would do
      sbgw run --trace                         keep full requests and answers, for `sbgw trace`
    """
    gc.disable()  # a start makes much and drops little: looking through it costs a tenth of the start (measured)
    try:
        sys.exit(
            _run(policy, port, host, config, shadow, state_folder(state_dir), chosen=state_dir is not None, trace=trace)
        )
    finally:
        gc.enable()


def _run(
    policy: str | None,
    port: int | None,
    host: str | None,
    config: Path | None,
    shadow: str | None,
    state: Path,
    *,
    chosen: bool,
    trace: bool,
) -> int:
    try:
        source = PolicySource.find(policy, config)
        loaded = source.load()
        watcher = PolicySource(shadow).load() if shadow else None
    except PolicyInvalid as error:
        invalid_policy(error)
    for note in source.notes:
        click.echo(safe(f"{source.config}: {note}"), err=True)
    bind, listen_on = host or loaded.settings.host, loaded.settings.port if port is None else port
    if bind not in ("127.0.0.1", "localhost", "::1") and loaded.settings.auth == "none":
        fail(f"refusing to listen on {bind} without authentication", "set `settings: {auth: {mode: local-key}}`")
    try:
        return _loop(_serve(source, loaded, watcher, (bind, listen_on), state, chosen=chosen, trace=trace))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            fail(f"port {listen_on} is in use", "is the gateway running already? Choose another port with --port")
        fail(f"cannot listen on {bind}:{listen_on}: {error.strerror or error}")
    except UnicodeError:
        fail(f"cannot listen on {bind}: that is no host's name")


def load(policy: str | None, config: Path | None = None) -> Policy:
    """The policy to serve, with a gateway.config.json applied. Prints what is wrong and stops when it can't be used."""
    try:
        return PolicySource.find(policy, config).load()
    except PolicyInvalid as error:
        invalid_policy(error)
    except GatewayError as error:
        fail(error.message)


def _loop(main: object) -> int:
    """Run the coroutine on the fastest loop there is."""
    try:
        import uvloop
    except ImportError:
        return int(asyncio.run(main))  # type: ignore[arg-type]
    return int(uvloop.run(main))  # type: ignore[arg-type]


async def _serve(
    source: PolicySource,
    policy: Policy,
    shadow: Policy | None,
    address: tuple[str, int],
    state: Path,
    *,
    chosen: bool,
    trace: bool,
) -> int:
    """Serve until a signal comes; the exit code. `chosen`: the state folder is not the usual one."""
    from engine.cli import defects
    from engine.cli.log import log
    from engine.gateway import Gateway
    from engine.guard import Guard
    from engine.reload import Reloader
    from engine.server import Server, listen
    from engine.store.key import gateway_key, named_keys

    host, port = address
    key, from_environment = gateway_key(state, os.environ)
    gateway = Gateway(
        policy, environ=os.environ, state=state, log=log, shadow=shadow, secrets=[key, *source.keys], trace=trace
    )
    defects.told(asyncio.get_running_loop(), gateway.log)
    await gateway.start()
    keys = [key, *source.keys] if policy.settings.auth == "local-key" else []
    named = named_keys(state) if keys else {}
    server = Server(gateway, Guard.of(port=port, names=[host], keys=keys, named=named), state=state)
    try:
        runner, used = await listen(server, host, port)
    except OSError:
        await gateway.close()
        raise
    server.guard = Guard.of(port=used, names=[host], keys=keys, named=named)
    # Young objects die young here; the default thresholds cost 30 % at 120 kB bodies (measured) for nothing found.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    gc.enable()
    stop = asyncio.Event()
    hurry = asyncio.Event()
    _signals(stop, hurry)
    url = f"http://{'localhost' if host in ('127.0.0.1', '::1') else host}:{used}"
    _announce(gateway, url, state, from_environment=from_environment, chosen=chosen)
    click.echo(f"listening on http://{host}:{used}")
    sys.stdout.flush()
    reloader = asyncio.create_task(Reloader(gateway, source.load, extra=source.files, log=gateway.log).run())
    await stop.wait()
    reloader.cancel()
    click.echo("stopping: requests under way may finish (again to stop at once)", err=True)
    drain = asyncio.ensure_future(runner.cleanup())
    rush = asyncio.ensure_future(hurry.wait())
    await asyncio.wait({drain, rush}, return_when=asyncio.FIRST_COMPLETED)
    rush.cancel()
    if not drain.done():
        drain.cancel()
    await gateway.close()
    return 0


def _signals(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()

    def asked() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, asked)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(asked))


def _announce(gateway: object, url: str, state: Path, *, from_environment: bool, chosen: bool) -> None:
    """The start screen: policy, providers, how to connect, where records are."""
    from engine.cli.announce import screen
    from engine.gateway import Gateway

    assert isinstance(gateway, Gateway)
    click.echo(screen(gateway, url, state, from_environment=from_environment, chosen=chosen))

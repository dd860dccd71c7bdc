"""``greylist serve``: the filter as one process for all connections."""

from __future__ import annotations

import gc
import os
import signal
from typing import TYPE_CHECKING

import click

from greylist.answer import Responder
from greylist.log import Log
from greylist.serve.listen import ListenError, sockets
from greylist.serve.server import serve
from greylist.serve.workers import Workers
from greylist.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from greylist.serve.server import Server
    from greylist.settings import Settings


@click.command("serve", short_help="Answer all connections in one process.")
@click.option(
    "--listen",
    multiple=True,
    metavar="ADDRESS",
    help="unix:PATH, inet:ADDRESS:PORT or inet:[ADDRESS]:PORT; may be repeated.",
)
@click.option("--metrics", metavar="ADDRESS:PORT", help="Show figures to Prometheus there.")
@click.option("--workers", metavar="N", help="How many processes share the connections.")
@click.option("--max-connections", metavar="N", help="How many connections to take at once.")
@click.pass_obj
def command(settings: Settings, /, listen: tuple[str, ...], **options: str | None) -> None:
    """Answer policy requests on sockets, in one process for all connections.

    The rules, the database and the commands are those of the filter that spawn(8) starts, and
    both may run at once. Started as root it acts as the owner of the database's directory. It
    ends on SIGTERM, when all requests that have arrived are answered. Sockets of systemd
    (LISTEN_FDS) come before --listen.

    \b
    Examples:
      greylist serve --listen unix:/var/spool/postfix/private/greylist
      greylist serve --listen inet:127.0.0.1:10023 --metrics 127.0.0.1:9150
    """
    given = {"listen": " ".join(listen) or None, **options}
    try:
        for name, value in given.items():
            if value is not None:
                settings.set(name, value)
        settings.check()
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    log = Log()
    log.configure(settings)
    try:
        run(settings, log)
    except ListenError as error:
        raise click.ClickException(str(error)) from error


def run(settings: Settings, log: Log) -> None:
    """Serve until a signal ends it.

    Raises:
        ListenError: a socket cannot be listened on.
        StoreError: the database cannot be used.
    """
    # Settings and lists are followed without it; and its default action is the end.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    listeners = sockets(settings, log.warning)
    prepare = [_prepare(settings, number) for number in range(settings.workers)]
    responder = Responder(settings, log)
    responder.open()  # root becomes the database's owner before the first request is read
    if os.geteuid() == 0:
        log.warning(
            "acting as root, as the database is root's own or on a server; mend it: start it as "
            "another user (User= in the unit, USER in a container), who then has to own the "
            "database's directory"
        )
    gc.freeze()
    if settings.workers == 1:
        serve(responder, listeners, prepare[0])
        return
    assert responder.store
    responder.store.close()

    def work(number: int, parent: int) -> None:
        serve(Responder(settings, log), listeners, prepare[number], parent)

    Workers(log, work).run(settings.workers)


def _prepare(settings: Settings, number: int) -> Callable[[Server], Awaitable[None]] | None:
    """Return the exporter of a worker's figures, its socket bound; None if not set.

    Raises:
        ListenError: its address cannot be bound.
    """
    if not settings.metrics:
        return None
    from greylist.serve import metrics

    try:
        listener = metrics.bind(settings.metrics, number)
    except OverflowError as error:
        raise ListenError(f"metrics {settings.metrics}: no port is left for each worker") from error
    except OSError as error:
        raise ListenError(f"metrics {settings.metrics}: {error.strerror or error}") from error
    return lambda server: metrics.start(server, listener)

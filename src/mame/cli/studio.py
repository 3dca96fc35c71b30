"""`mam-e studio`: the page."""

from __future__ import annotations

from typing import Annotated

import typer

from mame.cli import options
from mame.cli.output import announce


def studio(
    host: options.Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 7860,
    model: options.Model = "mini",
    device: options.Device = None,
    auth: Annotated[
        str | None, typer.Option(metavar="NAME:PASSWORD", help="Who may use it.", show_default=False)
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="With --host: everybody on that network may use it.")
    ] = False,
    certificate: options.Certificate = None,
    key: options.Key = None,
) -> None:
    """A page to generate, paint, order cohorts, assess and read, for people who don't use a shell.

    Nothing leaves this computer; uploads and results are deleted when it stops (Ctrl-C), unless they were saved.
    Prints the address.
    """
    from mame.web.server import address_of, free_port, needs_studio, run

    with needs_studio("mam-e studio"):
        from mame.web.studio.app import Access
        from mame.web.studio.app import studio as application

    access = Access(host, auth, no_auth)
    access.check()
    port = free_port(host, port)
    with application(access, model, device, port) as app:
        announce(f"the studio is at {address_of(host, port, certificate)} (Ctrl-C ends it)")
        run(app, host, port, certificate, key)

"""`mam-e studio`: the page in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from mame.cli import options
from mame.errors import MameError


def studio(
    host: options.Host = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.")] = 7860,
    model: options.Model = "mini",
    auth: Annotated[
        str | None, typer.Option(metavar="NAME:PASSWORD", envvar="MAM_E_AUTH", help="What visitors have to give.")
    ] = None,
    no_auth: Annotated[bool, typer.Option("--no-auth", help="Let everybody in who can reach --host.")] = False,
    certificate: options.Certificate = None,
    key: options.Key = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
) -> None:
    """The studio: make mammograms, paint lesions, order cohorts, read and assess, on one page.

    Prints its address. Nothing is sent anywhere; what is uploaded is deleted at the end. Other machines can reach it
    with --host only, and then need a name and a password (--auth), or --no-auth.
    """
    from mame.web.server import address_of, free_port, is_loopback, needs_studio, run

    account = _account(auth)
    local = is_loopback(host)
    if not local and account is None and not no_auth:
        raise MameError(
            f"--host {host} lets other machines in: give --auth NAME:PASSWORD, or --no-auth if all may come"
        )
    port = free_port(host, port)
    with needs_studio("the studio"):
        from mame.web.studio.app import app, private_folder
    with private_folder() as folder:
        server = app(folder, host, model, account, device, dtype, local)
        print(address_of(host, port, certificate), flush=True)
        if not local and certificate is None:
            print("not encrypted: give --certificate and --key where others share the network", flush=True)
        run(server, host, port, certificate, key)


def _account(auth: str | None) -> tuple[str, str] | None:
    if auth is None:
        return None
    name, colon, password = auth.partition(":")
    if not (name and colon and password):
        raise MameError("--auth: give NAME:PASSWORD, both")
    return name, password

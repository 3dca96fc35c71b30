"""Serving a page: on this machine only unless asked otherwise, with nothing from elsewhere in it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mame.errors import MameError

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOPBACK = "127.0.0.1"
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; "
    "base-uri 'none'; frame-ancestors 'none'; form-action 'self'"
)
"""Content security policy: scripts from this server alone; Bokeh sets styles in the page, hence 'unsafe-inline'."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own and no other machine can reach it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(host: str, port: int, certificate: Path | None = None) -> str:
    """What to type into a browser, with a slash at the end."""
    return f"{'https' if certificate else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/"


@contextmanager
def needs_studio(what: str) -> Iterator[None]:
    """Around imports that the extra `studio` brings: their absence is told in one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise MameError(f"{what} needs {error.name}: pip install 'mam-e[studio]'") from None


def free_port(host: str, port: int) -> int:
    """`port`, or one that is free where it is 0. Raises MameError where the address can't be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except (OSError, OverflowError) as error:
            said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise MameError(f"{host}:{port}: {said}; choose another --port") from None
        return int(trial.getsockname()[1])


def guard(app: FastAPI, host: str, policy: str = POLICY) -> None:
    """Answers on loopback go to pages of this machine alone (no other site's name may point here); headers say the
    rest. policy: the content security policy."""
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    if is_loopback(host):
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]", host])
    app.add_middleware(_Headers, policy=policy)


class _Headers:
    """Adds the headers, and lets streams and their ends pass as they are (a middleware of functions holds them up)."""

    def __init__(self, app: Any, policy: str) -> None:
        self.app = app
        self.policy = policy

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.datastructures import MutableHeaders

        async def headed(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = self.policy
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self.app(scope, receive, headed)


def run(app: FastAPI, host: str, port: int, certificate: Path | None = None, key: Path | None = None) -> None:
    """Serve until stopped. certificate, key: PEM files, for https."""
    import uvicorn

    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise MameError(f"{path}: no such file")
    try:
        uvicorn.run(
            app, host=host, port=port, log_level="warning", ssl_certfile=certificate, ssl_keyfile=key,
            timeout_graceful_shutdown=5,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise MameError(f"{host}:{port}: {error}") from None

"""All commands together, and what every one of them does with a mistake: one line, and an exit code."""

from __future__ import annotations

import signal
import sys
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from mame.cli import assess, cad, datasets, demo, inpaint, models, phantom, readers, send, studio, synthesize, train
from mame.cli import generate as generating
from mame.errors import MameError

USERS_MISTAKE = 2
INTERRUPTED = 128 + signal.SIGINT


class Commands(TyperGroup):
    """A group whose mistakes are told in one line on stderr: a user's (exit code 2) and Ctrl-C (130)."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was chosen."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _say("stopped; what was finished is kept")
            raise typer.Exit(INTERRUPTED) from None

    def main(self, *args: Any, **extra: Any) -> Any:
        """Parse, run, and leave with an exit code (or return it, where not `standalone_mode`)."""
        leave = extra.get("standalone_mode", True)
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except MameError as error:
            code = _mistake(str(error))
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            code = _mistake(f"{where}{error.strerror or error}")
        except typer.Abort:
            code = 1
        except Exception as error:
            if not hasattr(error, "format_message"):  # what typer raises for a wrong command line has no public name
                raise
            code = _mistake(f"{error.format_message().rstrip('.')} (--help tells more)")
        code = code if isinstance(code, int) else 0
        if leave:
            sys.exit(code)
        return code


app = typer.Typer(
    name="mam-e",
    cls=Commands,
    rich_markup_mode=None,  # brackets in a help text stand for themselves; and --help is there twice as fast
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("generate")(generating.generate)
app.command("inpaint")(inpaint.inpaint)
app.command("phantom")(phantom.phantom)
app.command("prepare")(datasets.prepare)
app.command("fuse")(datasets.fuse)
app.command("verify")(datasets.verify)
app.command("export")(datasets.export)
app.command("synthesize")(synthesize.synthesize)
app.command("send")(send.send)
app.command("train")(train.train)
app.command("publish")(train.publish)
app.command("models")(models.models)
app.command("assess")(assess.assess)
app.command("cad")(cad.cad)
app.command("studio")(studio.studio)
app.add_typer(readers.commands, name="readers")


def _show_version(wanted: bool) -> None:
    if wanted:
        import mame

        print(f"mam-e {mame.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """MAM-E: mammograms on order.

    Healthy mammograms from a prompt, lesions painted into real ones, with their labels. For research, not diagnosis.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())


def main() -> NoReturn:
    """What `mam-e` runs."""
    signal.signal(signal.SIGTERM, _end)
    app(prog_name="mam-e")
    sys.exit(0)


def _end(number: int, _: Any) -> NoReturn:
    """Leave by the way that removes temporary files."""
    sys.exit(128 + number)


def _mistake(text: str) -> int:
    _say(text)
    return USERS_MISTAKE


def _say(text: str) -> None:
    print(f"mam-e: {' '.join(text.split())}", file=sys.stderr)

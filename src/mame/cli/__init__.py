"""The command line, `mam-e`: it parses, calls the library and prints; one file a group of commands."""

from mame.cli.app import app, main

__all__ = ["app", "main"]

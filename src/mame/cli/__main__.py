"""`python -m mame.cli`: the same as `mam-e`."""

from mame.cli.app import main

main()

"""The command line: one file per command, errors to exit codes in one place."""

from callwright.cli.app import main

__all__ = ["main"]

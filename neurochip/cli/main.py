"""The ``neurochip`` command: imports subcommands only when called, turns errors into one line and an exit code."""

from __future__ import annotations

import errno
import importlib
import sys
import traceback
from typing import Any, NamedTuple

import click

from neurochip.atomic import reason
from neurochip.errors import NeurochipError
from neurochip.version import VERSION

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""


class Lazy(NamedTuple):
    """Where a subcommand lives, and the line that ``--help`` shows for it."""

    module: str
    attribute: str
    summary: str


COMMANDS: dict[str, Lazy] = {
    "check": Lazy("neurochip.cli.check", "check_command", "Check whether a chip can take a model, before compiling."),
    "compile": Lazy("neurochip.cli.compile", "compile_command", "Compile a trained model for a chip into a program."),
    "simulate": Lazy("neurochip.cli.simulate", "simulate_command", "Run a program on input data, spike for spike."),
    "inspect": Lazy("neurochip.cli.inspect", "inspect_command", "Show what is in a model, a program or a chip file."),
    "chips": Lazy("neurochip.cli.chips", "chips", "The chips that models can be compiled for."),
}


class UserError(click.ClickException):
    """An error of the user's making, as click shows and exits with it."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        vars(self)["exit_code"] = exit_code  # click declares it on the class

    def show(self, file: Any = None) -> None:
        """Print ``error: ...`` to standard error."""
        click.echo(f"error: {self.format_message()}", err=True)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that ``--help`` needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the workflow."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        lazy = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(lazy.module), lazy.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their one-line summaries."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.summary) for name, lazy in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; every error that a user can cause leaves as one line and an exit code."""
        try:
            return super().invoke(ctx)
        except NeurochipError as error:
            raise UserError(str(error), error.exit_code) from error
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except MemoryError as error:
            detail = f" ({error})" if str(error) else ""
            raise UserError(f"out of memory{detail}; use fewer inputs (--limit) or a smaller model") from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # the reader of our output went away: click ends quietly
                raise
            where = f"{error.filename}: " if error.filename is not None else ""
            raise UserError(f"{where}{reason(error)}") from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            traceback.print_exc()
            raise UserError(
                f"internal error ({type(error).__name__}): a bug of neurochip; please report it with the text above"
            ) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="neurochip")
def cli() -> None:
    """Compile trained spiking transformers to neuromorphic chips and simulate them, spike for spike."""


def main() -> None:
    """Entry point of the console script."""
    cli(prog_name="neurochip")
    sys.exit(0)

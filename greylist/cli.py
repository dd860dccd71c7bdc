"""The command line: the filter with options, and the commands for people."""

from __future__ import annotations

import importlib
import keyword
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from greylist import __version__, filter, settings
from greylist.commands.invocation import invocation
from greylist.log import Log
from greylist.settings import SETTINGS, Setting, SettingsError
from greylist.store import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from greylist.settings import Settings


def _option(setting: Setting) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the command line's option for a setting."""
    name = setting.name.replace("_", "-")
    text = f"{setting.help} [default: {setting.default or 'none'}]"
    if setting.name == "verbose":
        return click.option("-v", "--verbose", count=True, help=text + " Repeat for more.")
    if setting.default in {"yes", "no"}:
        return click.option(f"--{name}/--no-{name}", default=None, help=text)
    return click.option(f"--{name}", metavar="TEXT", help=text)


def setting_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option for every setting to a command."""
    for setting in reversed(SETTINGS):
        function = _option(setting)(function)
    return function


def configure(config: str | None, options: dict[str, Any]) -> Settings:
    """Return the settings of the file, overridden by the options that were given.

    Raises:
        click.UsageError: the file or an option is wrong.
    """
    try:
        configuration = settings.load(config)
        for name, text in invocation(config, options).options.items():
            configuration.set(name, text)
        configuration.check()
    except SettingsError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.UsageError(f"cannot read {error.filename}: {error.strerror}") from error
    return configuration


COMMANDS = {
    "setup": "Make Postfix ask greylist.",
    "check": "Look for what is wrong, and say what mends it.",
    "explain": "Say what a request would be answered, and why.",
    "list": "Show the entries.",
    "serve": "Answer all connections in one process.",
    "stats": "Count entries that wait, passed and never came back.",
    "metrics": "Print the figures for Prometheus.",
    "replay": "Try settings on the mail log.",
    "pass": "Let a client, sender or recipient through now.",
    "forget": "Delete entries.",
    "purge": "Delete what has expired, now.",
    "dump": "Print the whole database as text.",
    "load": "Take in what dump printed.",
    "whitelist": "Say how often each line of the lists matches.",
    "spf": "Print the networks in domains' SPF records.",
    "import": "Take over from postgrey, sqlgrey or greylist.pl.",
}
"""The commands and their short help, so that ``greylist --help`` need not load them."""

OPTIONAL_SETTINGS = ("check", "setup", "spf")
"""Commands that are to work when the settings are wrong; they read them themselves, if at all."""


class Unusable(click.ClickException):
    """The database cannot be used."""

    exit_code = 3


class Commands(click.Group):
    """The group of the commands, each a module that is loaded when its command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, loading its module."""
        if cmd_name not in COMMANDS:
            return None
        # A module cannot be called import or pass.
        name = cmd_name + "_" if keyword.iskeyword(cmd_name) else cmd_name
        try:
            module = importlib.import_module(f"greylist.commands.{name}")
        except (ImportError, OSError):
            raise
        except Exception as error:  # it is not whole: the disk was full, the power was cut
            raise ImportError(f"{type(error).__name__}: {error}") from error
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, without loading any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; a reader that has seen enough, such as head(1), is no error."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            raise self._before_command(error) from error
        except StoreError as error:
            raise Unusable(str(error)) from error
        except BrokenPipeError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            ctx.exit(0)
        except OSError as error:
            name = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{name}{error.strerror or error}") from error

    def _before_command(self, error: click.NoSuchOption) -> click.UsageError:
        """Return the error for a setting that stands behind its command."""
        name, called = error.option_name, error.ctx.info_name if error.ctx else ""
        for option in self.params:
            if name in {*option.opts, *option.secondary_opts}:
                value = f" {option.metavar}" if option.metavar else ""
                example = f"greylist {name}{value} {called} ..."
                words = f"{name} stands before the command, as all settings do: {example}"
                return click.UsageError(words, error.ctx)
        return error


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--config",
    metavar="FILE",
    help=f"Read the settings from this file. "
    f"[default: $GREYLIST_CONFIG, or else {settings.DEFAULT_PATH}]",
)
@setting_options
@click.version_option(__version__, prog_name="greylist")
@click.pass_context
def cli(context: click.Context, /, config: str | None, **options: Any) -> None:
    """Greylisting for Postfix.

    Without a command, serve policy requests: read name=value lines from standard input, an
    empty line ending each request, and answer each with an action on standard output. Postfix's
    spawn(8) runs it so, once per connection. By hand:

    \b
      printf '%s\\n' request=smtpd_access_policy client_address=192.0.2.1 \\
          sender=a@example.com recipient=b@example.org '' | greylist

    Every setting of greylist.cf is an option as well; options win. The commands are for people;
    each has its own --help.

    Exit status: 0 done; 1 nothing found, or something found wrong; 2 wrong usage or settings;
    3 the database cannot be used.
    """
    if context.invoked_subcommand in OPTIONAL_SETTINGS:
        context.obj = invocation(config, options)
        return
    try:
        configuration = configure(config, options)
    except click.UsageError:
        # Who asks how a command is used has to see it, whatever the settings say.
        if set(sys.argv).isdisjoint(context.help_option_names):
            raise
        configuration = settings.Settings()
    context.obj = configuration
    if context.invoked_subcommand is None:
        filter.main(configuration)


def run(spawned: bool = False) -> NoReturn:
    """Run the command line, and end the process.

    No destructor runs: those of stale handles would write what they know into the database.

    Args:
        spawned: as by spawn(8): what is wrong must not reach Postfix as a reply.

    Raises:
        ImportError: a module is missing; the entry says so.
    """
    code: object = 1
    _mend_streams()
    try:
        _run(spawned)
    except SystemExit as end:
        code = end.code or 0
    except ImportError:
        raise
    except KeyboardInterrupt:
        code = 130
    except BaseException:  # noqa: BLE001 - as the interpreter does
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code if isinstance(code, int) else 1)


def _mend_streams() -> None:
    """Replace closed standard streams by /dev/null; escape characters the output encoding lacks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")


def _run(spawned: bool) -> None:
    """Run the command line; errors are click's to show, or else the log's."""
    if not spawned:
        cli(prog_name="greylist")
    try:
        sys.exit(cli(prog_name="greylist", standalone_mode=False))
    except click.ClickException as error:
        Log().fatal(error.format_message())
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(1)

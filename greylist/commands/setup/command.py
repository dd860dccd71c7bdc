"""``greylist setup``: user, directory, files, service and restriction, in an order that is safe."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from greylist import settings as settings_module
from greylist.cli import configure
from greylist.commands.check.command import examine, show
from greylist.commands.invocation import Invocation
from greylist.commands.setup import account, server, takeover
from greylist.commands.setup.postfix import FOREIGN, Configuration
from greylist.commands.setup.server import Server
from greylist.commands.setup.steps import Steps

if TYPE_CHECKING:
    from greylist.settings import Settings


@click.command("setup", short_help="Make Postfix ask greylist.")
@click.option("--dry-run", is_flag=True, help="Print every change, and make none.")
@click.option(
    "--remove", is_flag=True, help="Take service and restriction out again; data and files stay."
)
@click.option(
    "--serve", is_flag=True, help="Set up greylist serve under systemd, in place of spawn(8)."
)
@click.option(
    "--from",
    "origin",
    type=click.Choice(sorted(FOREIGN)),
    help="Take over from it: import its options and entries, and take its place in main.cf.",
)
@click.option("--from-options", metavar="FILE", help="Its options. [default: where it has them]")
@click.option(
    "--from-database", metavar="PATH", help="Its database, or a dump. [default: where it has it]"
)
@click.option("--user", default="greylist", show_default=True, help="Whom the filters run as.")
@click.option(
    "--postfix",
    metavar="DIR",
    help="Where main.cf and master.cf are. [default: where postconf looks]",
)
@click.option(
    "--units", metavar="DIR", default=server.DIRECTORY, show_default=True, help="For --serve."
)
@click.pass_obj
def command(
    obj: Invocation,
    /,
    dry_run: bool,
    remove: bool,
    serve: bool,
    origin: str | None,
    **places: str | None,
) -> None:
    """Make a user, a directory, settings and a list, and have Postfix ask greylist.

    What is there already stays as it is, so a second run changes nothing; settings and lists are
    never overwritten. In main.cf the restriction goes to the end of the restriction list in
    force, behind reject_unauth_destination; where the right place is not certain, nothing of
    main.cf is changed, and what to write is said. Then Postfix reloads, and check has a look.

    With --from, the other service answers until Postfix asks ours, so no mail is deferred for it;
    stop it afterwards.

    \b
    Examples:
      greylist setup --dry-run
      greylist setup
      greylist setup --from postgrey
    """
    given, options = obj
    # What is made is for others to read, whatever root's own files are.
    os.umask(0o022)
    steps = Steps(dry_run)
    postfix = Configuration(steps, places["postfix"])
    if remove:
        _remove(postfix, places["units"] or "")
        return
    config = given or os.environ.get("GREYLIST_CONFIG") or settings_module.DEFAULT_PATH
    config = os.path.abspath(config)
    settings = _settings(config, options)
    user = places["user"] or ""
    data = account.directory_of(settings)
    program = account.program(user)
    unit = Server(program, user, postfix.server_socket(), config, data, places["units"] or "")
    service = takeover.SERVICES[origin] if origin else None
    lines = takeover.settings_lines(service, places["from_options"]) if service else []
    lines = [line for line in lines if line.partition(" =")[0] not in options]
    source = places["from_database"] or (takeover.database(service, lines) if service else "")
    if serve:
        server.refuse_elsewhere(unit)
    account.refuse_options(config, options)
    lists = postfix.plan(origin, takeover.listening(lines), serve)

    account.make_user(steps, user, data or "/nonexistent", postfix.owner())
    account.make_directory(steps, settings, user)
    account.make_settings(steps, config, [*lines, *account.setting_lines(options)])
    if not dry_run:
        settings = _settings(config, options)
    account.make_file(steps, settings.whitelist, "nogreylist")
    if service:
        takeover.import_entries(steps, settings, source, "what it knows by now")
    if _offer(postfix, serve, unit, bool(lists)):
        postfix.ask_service(lists)
        if lists:
            postfix.reload()
        if service:
            takeover.import_entries(steps, settings, source, "what it has learnt since")
            steps.say(f"Postfix asks {origin} no more. Stop it: systemctl disable --now {origin}")
    if not steps.count:
        click.echo("All is set up: nothing was changed.")
    if not dry_run:
        _check(config, options, places["postfix"])


def _settings(config: str, options: dict[str, str]) -> Settings:
    """Return the settings, which a dry run need not have written yet."""
    if os.path.exists(config):
        return configure(config, options)
    settings = settings_module.Settings()
    for name, value in options.items():
        settings.set(name, value)
    return settings


def _offer(postfix: Configuration, serve: bool, unit: Server, is_news: bool) -> bool:
    """Start the service; return whether it can be reached, and Postfix may be told to ask it."""
    steps = postfix.steps
    before = steps.count
    if serve:
        server.make_units(steps, unit)
        written = steps.count > before
        postfix.remove_services()
        if steps.count > before:
            postfix.reload()
        return server.start(steps, unit.socket, written)
    server.stop(steps, unit.directory)
    own = unit.config != settings_module.DEFAULT_PATH
    postfix.set_service(unit.user, [unit.program, *(["--config", unit.config] if own else [])])
    if is_news or steps.count > before:
        # Before anything asks it: a new smtpd reads main.cf at once, the master its file only now.
        postfix.reload()
    return True


def _remove(postfix: Configuration, units: str) -> None:
    """Take the service out of all restriction lists, and then out of master.cf and systemd."""
    steps = postfix.steps
    postfix.leave_services()
    if steps.count:
        postfix.reload()
    before = steps.count
    postfix.remove_services()
    if steps.count > before:
        postfix.reload()
    server.stop(steps, units)
    if steps.count:
        steps.say("settings, list, database and user are left as they are")
    else:
        click.echo("Nothing is set up: nothing was changed.")


def _check(config: str, options: dict[str, str], postfix: str | None) -> None:
    """Run ``check`` at the end, and exit with its status."""
    click.echo()
    findings = list(examine(Invocation(config, options), postfix))
    show(findings)
    raise click.exceptions.Exit(any(finding.level == "error" for finding in findings))

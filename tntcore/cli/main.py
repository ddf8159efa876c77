"""The root command, and the exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
from click.shell_completion import shell_complete

from tntcore.cli import completion, show
from tntcore.cli.audit import account, audit, tenants
from tntcore.cli.backups import backup, repair, restore
from tntcore.cli.base import Group, Session
from tntcore.cli.credentials import credentials, definitions, exchanges, proofs, schemas
from tntcore.cli.deliveries import deliveries, replay
from tntcore.cli.errors import ServiceRefused, Unreachable, WaitedInVain, Wrong
from tntcore.cli.listen import listen
from tntcore.cli.messages import messages, reply, send
from tntcore.cli.operators import operator
from tntcore.cli.partners import accept, connections, contacts, identities, invitations, invite
from tntcore.cli.poison import backlog, poison
from tntcore.cli.tenants import health, keys, profile_commands, register, rotate, settings, webhooks
from tntcore.cli.usage import usage
from tntcore.version import VERSION, commit

OK, PROBLEM, USAGE, UNREACHABLE, NOT_YET, INTERRUPTED = 0, 1, 2, 3, 4, 130

_PARTS = {
    "Tenants": (register, tenants, account, keys, usage, audit, profile_commands),
    "Partners": (invite, accept, contacts, connections, identities, invitations),
    "Messages": (send, reply, messages, deliveries, replay),
    "Credentials": (credentials, proofs, exchanges, schemas, definitions),
    "Settings": (webhooks, listen, settings, rotate),
    "Service": (health, operator, backlog, poison, backup, restore, repair),
}


class Root(Group):
    """All commands, grouped by purpose in the help text."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, commands in {**_PARTS, "Shell": (complete,)}.items():
            with formatter.section(title):
                formatter.write_dl([(each.name or "", each.get_short_help_str(60)) for each in commands])


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        made_of = commit() or _checked_out()
        click.echo(f"tntcore {VERSION}{f' (commit {made_of})' if made_of else ''}")
        context.exit()


def _checked_out() -> str:
    """Returns the commit of the checkout that this is run from; "" if there is none, or no git."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return ""


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version and commit."
)
def cli() -> None:
    """Command line of the DIDComm service, for operators and tenants.

    The service's URL and the keys come from TNT_URL, TNT_SUBSCRIPTION_KEY and TNT_OPERATOR_KEY, or from a profile
    (`profiles save`). Every command takes --json and --help. Exit codes: 0 done, 1 the service answered with a problem,
    2 the command was wrong, 3 the service could not be reached, 4 the wait ended without a result.
    """


@cli.command("completion", cls=click.Command)
@click.argument("shell", type=click.Choice(list(completion.SHELLS)))
def complete(shell: str) -> None:
    """Print a script that defines `tnt`, with completion.

    \b
    bash, in ~/.bashrc:  eval "$(python -m tntcore completion bash)"
    zsh, in ~/.zshrc:    eval "$(python -m tntcore completion zsh)"
    fish, in ~/.config/fish/config.fish:  python -m tntcore completion fish | source

    Run it with the Python of the project, in its folder. `tnt` then runs the command line from any folder.
    """
    click.echo(completion.script(shell, sys.executable, str(Path(__file__).parents[2])), nl=False)


for _commands in _PARTS.values():
    for _command in _commands:
        cli.add_command(_command)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command and returns its exit code. Prints errors on standard error, as JSON if --json was given."""
    session = Session(os.environ)
    if instruction := os.environ.get(completion.VARIABLE):
        return shell_complete(cli, {}, completion.COMMAND, completion.VARIABLE, instruction)
    colour = False if os.environ.get("NO_COLOR") else None
    try:
        code = cli.main(arguments, "python -m tntcore", standalone_mode=False, obj=session, color=colour)
    except ServiceRefused as refused:
        _tell(session, colour, dict(refused.problem), _problem(refused))
        return PROBLEM
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) and not isinstance(error, Wrong) else None
        more = [click.style(f"See {context.command_path} --help.", dim=True)] if context is not None else []
        first, *rest = error.format_message().splitlines()
        _tell(session, colour, {"title": "usage", "detail": error.format_message()}, [first, *rest, *more])
        return USAGE
    except Unreachable as error:
        detail = f"{session.service.profile.url}: {error}."
        problem = {"title": "unreachable", "detail": detail}
        if error.again:
            problem["idempotencyKey"] = error.again
            again = f"It may have taken effect. With --idempotency-key {error.again} a repetition is not done twice."
            _tell(session, colour, problem, [detail, again])
        else:
            _tell(session, colour, problem, [detail])
        return UNREACHABLE
    except WaitedInVain as error:
        _tell(session, colour, {"title": "not yet", "detail": f"{error}."}, [f"{error}."])
        return NOT_YET
    except OSError as error:
        detail = f"{show.safe(error.filename or 'a file')}: {show.safe(error.strerror)}."
        _tell(session, colour, {"title": "file", "detail": detail}, [detail])
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo(err=True)
        return INTERRUPTED
    return code if isinstance(code, int) else OK


def _problem(refused: ServiceRefused) -> list[str]:
    problem = refused.problem
    known = [("code", show.safe(refused.code)), ("trace", show.safe(problem.get("traceId")))]
    named = ", ".join(f"{name} {value}" for name, value in known if value)
    return [
        f"{show.safe(problem['title'])} ({show.safe(problem['status'])})",
        *(line for line in (show.safe(problem["detail"]), click.style(named, dim=True) if named else "") if line),
    ]


def _tell(session: Session, colour: bool | None, problem: Mapping[str, object], lines: list[str]) -> None:
    if session.as_json:
        click.echo(show.written(problem, None), err=True)
        return
    first, *rest = lines
    click.echo(f"{click.style('error:', fg='red')} {first}", err=True, color=colour)
    for line in rest:
        click.echo(f"  {line}", err=True, color=colour)

"""Shared parts of all commands: their options, the service they call, and how they print."""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice, repeat
from pathlib import Path
from typing import Any, TypeVar

import click

from tntcore.cli import profiles, show
from tntcore.cli.errors import ServiceRefused, WaitedInVain, Wrong
from tntcore.cli.follow import WINDOWS, patiently
from tntcore.cli.service import ServiceClient, is_uuid, new_key, part
from tntcore.cli.show import Column

F = TypeVar("F", bound=Callable[..., Any])
LIMIT = 100
CREATED = (show.field("CREATED", "createdAt", show.moment, spare=True), show.identifier())
_PART = re.compile("[0-9a-fA-F-]{6,35}")
_TIMED = ("message", "delivery")
_LISTED = {
    "action": "messages",
    "api-token": "keys",
    "connection": "connections",
    "credential": "credentials",
    "credential-definition": "definitions",
    "delivery": "deliveries",
    "exchange": "exchanges",
    "identity": "identities",
    "invitation": "invitations",
    "message": "messages",
    "presentation": "proofs",
    "principal": "tenants",
    "schema": "schemas",
}  # the command that lists what a path names
_MOST = 1_000  # entries among which a part of a uuid is looked for


class Session:
    """One command being run: its options and the service that it calls."""

    def __init__(self, environ: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> None:
        self.environ = environ
        self.sleep = sleep
        self.as_json = False
        self.profile: str | None = None
        self.url: str | None = None

    @property
    def file(self) -> Path:
        """The path of the profiles file."""
        return profiles.path_of(self.environ)

    @cached_property
    def service(self) -> ServiceClient:
        target = profiles.chosen(self.environ, profiles.load(self.file), name=self.profile, url=self.url)
        if target.url.startswith("http://") and not profiles.is_local(target.url):
            self.note(f"{target.url} is not encrypted: others on the network can read keys and messages")
        return ServiceClient(target, self.sleep)

    @property
    def tenant(self) -> ServiceClient:
        """The service, for a call that needs a subscription key. Raises `Wrong` if there is none."""
        if not self.service.profile.subscription_key:
            raise Wrong(
                "This command needs a tenant's key. Put it into TNT_SUBSCRIPTION_KEY or a profile (`profiles save`)."
            )
        return self.service

    def path(self, noun: str, text: str, *, operator: bool = False) -> str:
        """Returns the path of an entry, named by its uuid or a part of it, see `whole_uuid`. Raises `Wrong`."""
        service = self.service if operator else self.tenant
        return f"{noun}/{part(whole_uuid(service, noun, text, operator=operator))}"

    def note(self, text: str) -> None:
        """Prints a note on standard error, for a person who is watching; it is not part of the result."""
        click.echo(click.style(show.safe(text), dim=True), err=True)

    def say(self, *lines: str) -> None:
        """Prints lines for a person, not with --json. The caller has made the text safe."""
        if not self.as_json:
            for line in lines:
                click.echo(line)

    def answer(self, value: Any, lines: Callable[[], Sequence[str]]) -> None:
        """Prints the result: a JSON document with --json, else the lines."""
        if self.as_json:
            click.echo(show.written(value))
        else:
            self.say(*lines())

    def line(self, value: Any) -> None:
        """With --json, prints one of several results as a line of JSON."""
        if self.as_json:
            click.echo(show.written(value, None))

    def hits(
        self,
        hits: Iterable[Mapping[str, Any]],
        columns: Sequence[Column],
        what: str,
        limit: int | None = None,
        *,
        newest_last: bool = False,
    ) -> None:
        """Prints a list.

        Args:
            limit: how many are shown; a note says if there are more.
            newest_last: the hits come newest first, and are printed the other way round.
        """
        following = iter(hits)
        rows = list(islice(following, limit))
        more = limit is not None and next(following, None) is not None
        if newest_last:
            rows.reverse()
        if self.as_json:
            click.echo(show.written(rows))
        elif rows:
            self.say(*show.table(rows, columns, show.terminal_width()))
        else:
            self.note(f"no {what}")
        if more:
            self.note(f"only {limit} are shown; -n 0 shows all")

    def wait(self, ask: Callable[[], Any], done: Callable[[Any], bool], seconds: float | None, what: str) -> Any:
        """Asks once a second until `done` holds, and returns the answer. An unreachable service is asked again. Raises
        `WaitedInVain` after `seconds`.
        """
        end = math.inf if seconds is None else time.monotonic() + seconds

        def pause(length: float) -> None:
            left = end - time.monotonic()
            if left <= 0:
                raise WaitedInVain(f"the wait for {what} ended after {seconds:g} s")
            self.sleep(min(length, left))

        while not done(answer := patiently(ask, pause, self.note)):
            pause(1)
        return answer


class ToolCommand(click.Command):
    """A command with the options that every command has."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params += _common()


class Group(click.Group):
    """A group of commands under a noun. Without a subcommand it runs `list`, if there is one."""

    command_class = ToolCommand

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Completion of an empty line passes no words: it asks for the first one.
        bare = args[0].startswith("-") and args[0] not in ctx.help_option_names if args else not ctx.resilient_parsing
        return super().parse_args(ctx, ["list", *args] if bare and "list" in self.commands else args)


Group.group_class = Group


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            session = ctx.find_object(Session)
            if session is not None:  # completion inspects commands without one
                setattr(session, name, value)

    return callback


def _complete_profile(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        named = profiles.load(profiles.path_of(os.environ)).named
    except Wrong:
        return []
    return [name for name in named if name.startswith(incomplete)]


def _common() -> list[click.Parameter]:
    return [
        click.Option(
            ["--profile"],
            metavar="NAME",
            help="The profile to use (TNT_PROFILE): a service and its keys.",
            expose_value=False,
            callback=_remember("profile"),
            shell_complete=_complete_profile,
        ),
        click.Option(
            ["--url"],
            metavar="URL",
            help=f"The service's URL (TNT_URL, else {profiles.DEFAULT_URL}).",
            expose_value=False,
            callback=_remember("url"),
        ),
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            help="Print JSON.",
            expose_value=False,
            callback=_remember("as_json"),
        ),
    ]


pass_session = click.make_pass_decorator(Session)


def wait_options(help_text: str) -> Callable[[F], F]:
    """Adds `--wait` and `--timeout` to a command. `help_text`: what `--wait` waits for."""

    def add(command: F) -> F:
        timeout = click.option(
            "--timeout",
            type=click.FloatRange(min=0),
            metavar="SECONDS",
            help="With --wait: stop waiting after this time, with exit code 4.",
        )
        return click.option("--wait", is_flag=True, help=help_text)(timeout(command))

    return add


def once(command: F) -> F:
    """Adds the option `--key` to a command that creates something, as the argument `key`."""
    return click.option(
        "--idempotency-key",
        "key",
        metavar="KEY",
        default=new_key,
        help="Idempotency key: a call repeated with it within 24 hours is not done twice.",
    )(command)


def paged(command: F) -> F:
    """Adds the option `--limit` to a list command, as the argument `limit`; None means all."""
    return click.option(
        "-n",
        "--limit",
        type=click.IntRange(0),
        default=LIMIT,
        show_default=True,
        callback=lambda ctx, parameter, value: value or None,
        help="Show at most this many; 0 for all.",
    )(command)


def whole_uuid(service: ServiceClient, noun: str, text: str, *, operator: bool = False) -> str:
    """Returns the uuid that begins or ends with `text`, which is 6 characters or more of one. A whole uuid, and a DID,
    are returned as they are.

    Looks at no more than 1,000 entries of the list `noun`; of messages and deliveries, in longer and longer periods.

    Raises:
        Wrong: `text` is nothing like that, or is in none or in more than one of them.
    """
    if is_uuid(text) or text.startswith("did:"):
        return text
    if not _PART.fullmatch(text):
        listed = _LISTED.get(noun, "")
        raise Wrong(
            f"{show.safe(text)!r} is no uuid, nor a part of one. Give the uuid, or 6 or more of its characters at "
            f"the beginning or the end{listed and f'. `{listed}` lists them'}."
        )
    wanted, looked = text.lower(), 0
    windows = [show.iso(service.now - age) for age in WINDOWS] if noun in _TIMED else [""]
    for since in windows:
        uuids = [str(hit["uuid"]) for hit in service.pages(noun, {"since": since}, _MOST, operator=operator)]
        looked = len(uuids)
        found = [uuid for uuid in uuids if uuid.startswith(wanted) or uuid.endswith(wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            several = "\n".join(f"  {show.safe(uuid)}" for uuid in found[:10])
            raise Wrong(f"{len(found)} uuids begin or end with {text}. Give more of it:\n{several}")
    raise Wrong(f"None of the {looked} uuids that were looked at begins or ends with {text}. Give the whole uuid.")


def find_contact(service: ServiceClient, name: str) -> str:
    """Returns what identifies the contact to the service: a uuid or DID as it was given, else the uuid of the contact
    with this displayName (in any case), or whose uuid begins or ends with it. Raises `Wrong` if no contact, or more
    than one, fits.
    """
    if name.startswith("did:") or is_uuid(name):
        return name
    wanted = name.casefold()
    every = list(service.pages("contact", {}))
    found = [hit for hit in every if str(hit["displayName"]).casefold() == wanted]
    if not found and _PART.fullmatch(name):
        found = [hit for hit in every if str(hit["uuid"]).startswith(wanted) or str(hit["uuid"]).endswith(wanted)]
    if not found:
        raise Wrong(f"There is no contact {show.safe(name)!r}. See `contacts`.")
    if len(found) > 1:
        which = "\n".join(f"  {hit['uuid']}  {show.safe(hit['status'])}  {show.short_did(hit['did'])}" for hit in found)
        raise Wrong(f"Several contacts are called {show.safe(name)!r}. Name one by its uuid:\n{which}")
    return str(found[0]["uuid"])


def contact_uuid(service: ServiceClient, name: str) -> str:
    """Returns the contact's uuid; like `find_contact`, for calls that take no DID."""
    found = find_contact(service, name)
    return str(service.get(f"contact/{part(found)}")["uuid"]) if found.startswith("did:") else found


class Names:
    """Names of contacts by uuid, read when they are asked for. The first look reads one page, as most are on it."""

    def __init__(self, service: ServiceClient) -> None:
        self._service = service
        self._known: dict[str, str] | None = None

    def of(self, contact: object) -> str:
        """The contact's name, made safe to print; the uuid if it has no name."""
        if not contact:
            return ""
        if self._known is None:
            self._known = {hit["uuid"]: _name(hit) for hit in self._service.pages("contact", {}, 200)}
        uuid = str(contact)
        if uuid not in self._known:
            self._known[uuid] = self._ask(uuid)
        return self._known[uuid]

    def _ask(self, uuid: str) -> str:
        try:
            return _name(self._service.get(f"contact/{part(uuid)}"))
        except ServiceRefused:
            return show.safe(uuid)  # it was deleted


def _name(contact: Mapping[str, Any]) -> str:
    return show.safe(contact.get("displayName") or contact.get("email")) or show.short_did(
        contact.get("did") or contact["uuid"]
    )


@contextmanager
def bar(session: Session, length: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """Shows a progress bar at a terminal, and gives a function that advances it. `length`: None if it is unknown."""
    with click.progressbar(
        repeat(None) if length is None else None,
        length=length,
        label=what,
        show_pos=True,
        hidden=session.as_json or not sys.stderr.isatty(),
        file=sys.stderr,
    ) as shown:
        yield shown.update

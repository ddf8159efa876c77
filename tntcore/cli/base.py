"""What all commands share: their options, the service that they call, and how they print."""

from __future__ import annotations

import math
import os
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
from tntcore.cli.errors import NotYet, Refused, Wrong
from tntcore.cli.follow import patiently
from tntcore.cli.service import Service, is_uuid, new_key, part
from tntcore.cli.show import Column

F = TypeVar("F", bound=Callable[..., Any])
LIMIT = 100
CREATED = (show.field("CREATED", "createdAt", show.moment), show.field("UUID", "uuid"))


class Session:
    """One command: what it was told, and the service that it calls."""

    def __init__(self, environ: Mapping[str, str], sleep: Callable[[float], None] = time.sleep) -> None:
        self.environ = environ
        self.sleep = sleep
        self.as_json = False
        self.profile: str | None = None
        self.url: str | None = None

    @property
    def file(self) -> Path:
        """Of the profiles."""
        return profiles.path_of(self.environ)

    @cached_property
    def service(self) -> Service:
        target = profiles.chosen(self.environ, profiles.load(self.file), name=self.profile, url=self.url)
        if target.url.startswith("http://") and not profiles.is_local(target.url):
            self.note(f"{target.url} is not encrypted: keys and messages can be read on their way")
        return Service(target, self.sleep)

    @property
    def tenant(self) -> Service:
        """The service, for a call that needs a subscription key. Raises `Wrong` where there is none."""
        if not self.service.profile.subscription_key:
            raise Wrong("This needs a tenant's key: put it into TNT_SUBSCRIPTION_KEY or a profile (`profiles save`).")
        return self.service

    def note(self, text: str) -> None:
        """For a person who looks on; no part of the result."""
        click.echo(click.style(show.safe(text), dim=True), err=True)

    def say(self, *lines: str) -> None:
        """For a person, and so not with --json. What is in it is safe."""
        if not self.as_json:
            for line in lines:
                click.echo(line)

    def answer(self, value: Any, lines: Callable[[], Sequence[str]]) -> None:
        """The result: a JSON document, or lines."""
        if self.as_json:
            click.echo(show.written(value))
        else:
            self.say(*lines())

    def line(self, value: Any) -> None:
        """One of several results, with --json: a line."""
        if self.as_json:
            click.echo(show.written(value, None))

    def hits(
        self, hits: Iterable[Mapping[str, Any]], columns: Sequence[Column], what: str, limit: int | None = None
    ) -> None:
        """A list. Args: limit: how many are shown; that there are more is then told."""
        following = iter(hits)
        rows = list(islice(following, limit))
        more = limit is not None and next(following, None) is not None
        if self.as_json:
            click.echo(show.written(rows))
        elif rows:
            self.say(*show.table(rows, columns, show.terminal_width()))
        else:
            self.note(f"no {what}")
        if more:
            self.note(f"there are more than these {limit}: -n 0 shows all")

    def wait(self, ask: Callable[[], Any], done: Callable[[Any], bool], seconds: float | None, what: str) -> Any:
        """What `ask` answers once that is `done`, asking each second. Raises `NotYet` after so many seconds, also where
        the service is away."""
        end = math.inf if seconds is None else time.monotonic() + seconds

        def pause(length: float) -> None:
            left = end - time.monotonic()
            if left <= 0:
                raise NotYet(f"{what} did not come about within {seconds:g} s")
            self.sleep(min(length, left))

        while not done(answer := patiently(ask, pause, self.note)):
            pause(1)
        return answer


class Command(click.Command):
    """A command with the options that all have."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.params += _common()


class Group(click.Group):
    """Commands below a noun; without one of them it is `list`, if there is that."""

    command_class = Command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Completion asks with no words what could come first.
        bare = args[0].startswith("-") and args[0] not in ctx.help_option_names if args else not ctx.resilient_parsing
        return super().parse_args(ctx, ["list", *args] if bare and "list" in self.commands else args)


Group.group_class = Group


def _remember(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            session = ctx.find_object(Session)
            if session is not None:  # as there is none where completion looks at a command
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
            help="Which service, with which keys (TNT_PROFILE).",
            expose_value=False,
            callback=_remember("profile"),
            shell_complete=_complete_profile,
        ),
        click.Option(
            ["--url"],
            metavar="URL",
            help=f"Where the service is (TNT_URL, else {profiles.DEFAULT_URL}).",
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


def once(command: F) -> F:
    """An option for commands that create: the argument `key`."""
    return click.option(
        "--idempotency-key",
        "key",
        metavar="KEY",
        default=new_key,
        help="Given again within 24 hours, the same is not done twice.",
    )(command)


def paged(command: F) -> F:
    """An option for lists: the argument `limit`, None for all."""
    return click.option(
        "-n",
        "--limit",
        type=click.IntRange(0),
        default=LIMIT,
        show_default=True,
        callback=lambda ctx, parameter, value: value or None,
        help="How many at the most; 0 for all.",
    )(command)


def find_contact(service: Service, name: str) -> str:
    """What names the contact to the service: a uuid or a DID is taken as it is, and else it is a displayName, in any
    case. Raises `Wrong` where it is nobody's, or several contacts have it."""
    if name.startswith("did:") or is_uuid(name):
        return name
    wanted = name.casefold()
    found = [hit for hit in service.pages("contact", {}) if str(hit["displayName"]).casefold() == wanted]
    if not found:
        raise Wrong(f"There is no contact {show.safe(name)!r}. See `contacts`.")
    if len(found) > 1:
        which = "\n".join(f"  {hit['uuid']}  {show.safe(hit['status'])}  {show.short_did(hit['did'])}" for hit in found)
        raise Wrong(f"Several contacts are called {show.safe(name)!r}. Name one by its uuid:\n{which}")
    return str(found[0]["uuid"])


def contact_uuid(service: Service, name: str) -> str:
    """As `find_contact`, for where only a uuid will do."""
    found = find_contact(service, name)
    return str(service.get(f"contact/{part(found)}")["uuid"]) if found.startswith("did:") else found


class Names:
    """Contacts by their uuids, read as they are asked for; one page at first, as most are on it."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._known: dict[str, str] | None = None

    def of(self, contact: object) -> str:
        """The name, safe; the uuid where there is none."""
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
        except Refused:
            return show.safe(uuid)  # it was deleted


def _name(contact: Mapping[str, Any]) -> str:
    return show.safe(contact.get("displayName") or contact.get("email")) or show.short_did(
        contact.get("did") or contact["uuid"]
    )


@contextmanager
def bar(session: Session, length: int | None, what: str) -> Iterator[Callable[[int], None]]:
    """A progress bar for who looks on at a terminal, moved on by so many. `length`: None where nobody knows."""
    with click.progressbar(
        repeat(None) if length is None else None,
        length=length,
        label=what,
        show_pos=True,
        hidden=session.as_json or not sys.stderr.isatty(),
        file=sys.stderr,
    ) as shown:
        yield shown.update

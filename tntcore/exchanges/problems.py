"""Errors of a tenant's step of an exchange, as problems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tntcore.credentials.formats import FormatError, SigningError
from tntcore.errors import DidError, Problem, sentence
from tntcore.protocols.transition import OutOfTurn
from tntcore.storage.records import Exchange
from tntcore.workers import WorkTimeout


@contextmanager
def as_problems(exchange: Exchange) -> Iterator[None]:
    """Turns the errors of a tenant's step of the exchange into `Problem`s."""
    try:
        yield
    except OutOfTurn:
        raise Problem(
            409,
            "out-of-turn",
            f"The exchange is in state '{exchange.state}', which does not allow this step. Read the exchange.",
        ) from None
    except FormatError as error:
        raise Problem(409, error.code, sentence(error.detail)) from None
    except SigningError as error:
        raise Problem(502, "signing-failed", sentence(error.detail)) from None
    except DidError as error:
        raise Problem(409, f"did-{error.code}", f"A DID cannot be used: {error.detail}.") from None
    except WorkTimeout:
        raise Problem(503, "busy", "The computation took too long. Try again.", retry_after=5) from None

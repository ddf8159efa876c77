"""Access to the cloud's services (storage, key vault): one HTTP session and one identity for all."""

from __future__ import annotations

from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession, DummyCookieJar, TCPConnector
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.settings import settings

from tntcore.clock import Clock
from tntcore.config import CloudIdentity

if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

# Seconds that an idle connection is kept: less than any server does. The SDK does not repeat a create whose connection
# turned out to be closed.
_KEEP_ALIVE = 4.0
_TOO_MANY, _BUSY = 429, 503
_SENT = "tntcore_sent"  # attribute of a request
# For the whole process: the SDK asks for this setting several times in each call, and the service has spans of its own.
settings.tracing_enabled = False


class _Transport(AioHttpTransport):  # type: ignore[misc]  # the SDK loads it when it is asked for
    """Shows 429 ("too many requests") to the SDK as 503 ("busy"), which all of its clients retry, and some retry alone:
    azure-storage retries no 429, azure-core none of a POST.

    Args:
        clock: learns from the answers.
    """

    def __init__(self, clock: Clock | None, **options: Any) -> None:
        super().__init__(**options)
        self._clock = clock

    async def send(self, request: Any, **config: Any) -> Any:
        if self.session is None or self.session.closed:
            # Whoever is still served is told to come again, and reaches another process.
            raise ServiceRequestError("this process is ending")
        setattr(request, _SENT, times_sent(request) + 1)
        clock = self._clock if self._clock is not None and self._clock.is_due else None
        sent = clock.machine() if clock is not None else 0
        response: Any = await super().send(request, **config)
        if clock is not None:
            clock.answered(response.headers.get("Date", ""), sent)
        if response.status_code == _TOO_MANY:
            response.status_code = _BUSY
        return response


def times_sent(request: object) -> int:
    """Returns how often a request was sent by our transports: more than once, if the SDK repeated it."""
    return int(getattr(request, _SENT, 0))


class Cloud:
    """The HTTP session and the identity for the cloud's services, and the time by the storage account's clock.

    Args:
        identity: the app's identity.
        trust: certificates to trust in place of the usual ones.
        clock: is kept in step with the storage account's.
    """

    def __init__(self, identity: CloudIdentity, trust: SSLContext | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self._identity = identity
        self._credential: DefaultAzureCredential | ManagedIdentityCredential | None = None
        # A session of our own: the SDK's reads the environment's proxies and netrc in a thread for every request, which
        # was a fifth of a message's CPU.
        self._session = ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE, ssl=trust or True),
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
        )

    def transport(self, *, of_storage: bool = False) -> AioHttpTransport:
        """Returns a transport for an SDK client, which may close it. `of_storage`: the clock goes by its answers."""
        return _Transport(self.clock if of_storage else None, session=self._session, session_owner=False)

    def credential(self) -> AsyncTokenCredential:
        """Returns the app's identity: the same object each time, since it caches the tokens."""
        if self._credential is None:
            # Slow to load, and needed only where nothing else opens the storage account.
            from azure.identity.aio import DefaultAzureCredential, ManagedIdentityCredential

            options: dict[str, Any] = {"transport": self.transport()}
            client_id = self._identity.client_id
            if self._identity.managed:
                self._credential = ManagedIdentityCredential(client_id=client_id or None, **options)
            else:
                if client_id:
                    options |= {"managed_identity_client_id": client_id, "workload_identity_client_id": client_id}
                # On Kubernetes this is the workload's identity; on a developer's machine, the developer's.
                self._credential = DefaultAzureCredential(**options)
        return self._credential

    async def close(self) -> None:
        if self._credential is not None:
            await self._credential.close()
        await self._session.close()

"""Webhooks: signed as Standard Webhooks says, sent again with growing pauses, bounded in every way.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
What waits lives in memory and dies with the process, as the results do. No log line holds an address or a body.
"""

import asyncio
import base64
import hmac
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from service.errors import ServiceError
from service.jobs.targets import Resolve, Target, find_addresses, parse_target, resolve_name
from service.metrics import package_version

if TYPE_CHECKING:
    import ssl

    from httpx2 import AsyncClient

logger = logging.getLogger("proofsheet.webhook")

PAUSES_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # before each further attempt, and up to half as much again
MAX_UNDER_WAY = 16  # requests at once; no caller has more than a quarter of them
MAX_PENDING = 1000
MAX_PENDING_BYTES = 128_000_000
ATTEMPT_SECONDS = 10.0
CONNECT_SECONDS = 5.0
RETRY_STATUSES = frozenset({408, 425, 429})  # and every 5xx

Outcome = Literal["delivered", "refused", "gave_up", "dropped"]


@dataclass(frozen=True, slots=True)
class WebhookDelivery:
    """One event on its way to one target."""

    target: Target = field(repr=False)
    event_name: str
    body: bytes = field(repr=False)
    caller_id: str
    id: str = field(default_factory=lambda: f"msg_{secrets.token_hex(16)}")  # the same in every attempt


class Webhooks:
    """Delivers in tasks of its own. Used from the event loop's thread only.

    `allow_loopback` lets http:// and https:// go to this machine, for tests. `count` hears of every outcome.
    """

    def __init__(
        self,
        secret: bytes,
        *,
        allow_loopback: bool = False,
        count: Callable[[Outcome], None] = lambda outcome: None,
        resolve: Resolve = resolve_name,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        tls: "ssl.SSLContext | None" = None,
    ) -> None:
        self._secret = secret
        self._allow_loopback = allow_loopback
        self._count = count
        self._resolve = resolve
        self._clock = clock
        self._sleep = sleep
        self._tls = tls
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending_bytes = 0
        self._pending: Counter[str] = Counter()  # by caller
        self._under_way = asyncio.Semaphore(MAX_UNDER_WAY)
        self._turns: dict[str, asyncio.Semaphore] = {}  # by caller, while anything of theirs is pending
        self._opening: asyncio.Task[AsyncClient] | None = None

    @property
    def pending(self) -> int:
        return len(self._tasks)

    def secret_of(self, caller_id: str) -> str:
        """The caller's own signing secret: nobody can sign what another caller would believe."""
        return "whsec_" + base64.b64encode(self._key_of(caller_id)).decode()

    async def check_target(self, text: str) -> None:
        """Refuse now what would be refused later. Raises BadRequest with a code webhook_*."""
        target = parse_target(text, allow_loopback=self._allow_loopback)
        await find_addresses(target, self._resolve, allow_loopback=self._allow_loopback)

    def deliver(self, target: str, event_name: str, body: bytes, *, caller_id: str, retry: bool = True) -> bool:
        """Send this event, now or a little later. Waits for nothing and raises nothing; False if it was dropped."""
        try:
            where = parse_target(target, allow_loopback=self._allow_loopback)
        except ServiceError:
            where = None
        fits = self.pending < MAX_PENDING and self._pending_bytes + len(body) <= MAX_PENDING_BYTES
        if where is None or not fits or self._pending[caller_id] >= MAX_PENDING // 4:
            self._note("dropped", event_name, 0)
            return False
        delivery = WebhookDelivery(where, event_name, body, caller_id)
        task = asyncio.create_task(self._deliver(delivery, retry), name=f"webhook {delivery.id}")
        self._begin(delivery, task)
        return True

    async def stop(self, seconds: float) -> None:
        """Let what is pending end within this time, then drop it."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._opening is not None:
            await (await self._opening).aclose()
            self._opening = None

    # ---- one delivery

    def _begin(self, delivery: WebhookDelivery, task: asyncio.Task[None]) -> None:
        caller_id, size = delivery.caller_id, len(delivery.body)
        self._tasks.add(task)
        self._pending[caller_id] += 1
        self._pending_bytes += size

        def end(task: asyncio.Task[None]) -> None:
            self._tasks.remove(task)
            self._pending_bytes -= size
            self._pending[caller_id] -= 1
            if not self._pending[caller_id]:
                del self._pending[caller_id]
                self._turns.pop(caller_id, None)
            if task.cancelled():
                self._note("dropped", delivery.event_name, 0)

        task.add_done_callback(end)

    async def _deliver(self, delivery: WebhookDelivery, retry: bool) -> None:
        turns = self._turns.setdefault(delivery.caller_id, asyncio.Semaphore(MAX_UNDER_WAY // 4))
        pauses = PAUSES_SECONDS if retry else ()
        for attempt in range(len(pauses) + 1):
            if attempt:
                await self._sleep(pauses[attempt - 1] * (1 + random.random() / 2))
            async with turns, self._under_way:
                status = await self._attempt(delivery, attempt)
            if status is not None and 200 <= status < 300:
                return self._note("delivered", delivery.event_name, attempt + 1)
            if status is not None and status < 500 and status not in RETRY_STATUSES:
                return self._note("refused", delivery.event_name, attempt + 1, status)
        return self._note("gave_up", delivery.event_name, len(pauses) + 1)

    async def _attempt(self, delivery: WebhookDelivery, attempt: int) -> int | None:
        """The status, or None where no answer came. A target that is not allowed any more counts as no answer."""
        from httpx2 import HTTPError

        target = delivery.target
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                addresses = await find_addresses(target, self._resolve, allow_loopback=self._allow_loopback)
                return await self._post(delivery, addresses[attempt % len(addresses)])
        except (ServiceError, HTTPError, OSError):  # OSError: the time is up, or TLS failed
            return None

    async def _post(self, delivery: WebhookDelivery, address: str) -> int:
        """To this address, under the target's name: for TLS, for the certificate and in the Host header."""
        from httpx2 import URL

        target, client = delivery.target, await self._client()
        url = URL(scheme=target.scheme, host=address, port=target.port, raw_path=target.path.encode())
        sni = {"sni_hostname": target.host}
        headers = self._headers(delivery) | {"Host": target.host_field}
        async with client.stream("POST", url, content=delivery.body, headers=headers, extensions=sni) as answer:
            return answer.status_code  # the body is not read: whatever it is, it is nothing to us

    def _headers(self, delivery: WebhookDelivery) -> dict[str, str]:
        timestamp = str(int(self._clock()))
        return {
            "Content-Type": "application/json",
            "User-Agent": f"Proofsheet/{package_version()}",
            "webhook-id": delivery.id,
            "webhook-timestamp": timestamp,
            "webhook-signature": sign(self._key_of(delivery.caller_id), delivery.id, timestamp, delivery.body),
        }

    def _key_of(self, caller_id: str) -> bytes:
        return hmac.digest(self._secret, caller_id.encode(), "sha256")

    async def _client(self) -> "AsyncClient":
        """Opened for the first delivery, in a thread: its import and the certificates take a tenth of a second."""
        if self._opening is None:
            self._opening = asyncio.create_task(asyncio.to_thread(_open_client, self._tls))
        return await asyncio.shield(self._opening)

    def _note(self, outcome: Outcome, event_name: str, attempts: int, status: int | None = None) -> None:
        self._count(outcome)
        fields = {"event": event_name, "outcome": outcome, "attempts": attempts}
        fields |= {} if status is None else {"status": status}
        logger.log(logging.INFO if outcome == "delivered" else logging.WARNING, "webhook", extra={"fields": fields})


def sign(key: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    """`v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`."""
    mac = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(mac).decode()


def _open_client(tls: "ssl.SSLContext | None") -> "AsyncClient":
    """No proxies and no .netrc from the environment, no redirects; no connection is used twice, as two names may share
    an address and the second would ride on the certificate of the first."""
    from httpx2 import AsyncClient, Limits, Timeout

    return AsyncClient(
        verify=True if tls is None else tls,
        trust_env=False,
        follow_redirects=False,
        timeout=Timeout(ATTEMPT_SECONDS, connect=CONNECT_SECONDS),
        limits=Limits(max_connections=MAX_UNDER_WAY, max_keepalive_connections=0),
    )

"""What a caller keeps of a job: a sealed identity, or a sealed proof of each picture. The job itself keeps neither.

An *identity* is what an enrolment gives: sent back instead of selfies, it saves decoding, detection and encoding. A
*proof* comes with every picture and is all that is needed to make that picture again, larger and finer.
"""

import time
from typing import TypeVar

import msgspec
from msgspec import Struct

from models.wire.bundle_info import BundleInfo
from models.wire.events import JobEvent, Portrait, Started
from models.wire.groups import Delivery
from models.wire.order import Final, Order, Photos
from service.access.caller import Caller
from service.errors import BadRequest
from service.jobs.sealing import MAX_TOKEN_CHARS, Kind, Sealer
from service.metrics import Metrics

MAX_PAYLOAD_BYTES = MAX_TOKEN_CHARS * 3 // 4 - 512  # what a token that opens again can hold


K = TypeVar("K", bound=Struct)


class KeptIdentity(Struct, frozen=True, array_like=True):
    """What an enrolment gives. `identity` is the worker's and opaque here; it works with this adapter and revision."""

    adapter: str
    revision: str
    identity: bytes

    def __repr__(self) -> str:
        return f"KeptIdentity({self.adapter}, {len(self.identity)} bytes)"


class Proof(Struct, frozen=True, array_like=True):
    """One picture, as an order that makes it again: the plan in full, the identity, one seed, and no selfie."""

    order: Order
    style: str | None
    model: str
    revision: str

    def __repr__(self) -> str:
        return f"Proof({self.model})"

    def final(self, job_id: str, final: Final, delivery: Delivery, deadline_seconds: float) -> Order:
        """The message that makes the full-quality version."""
        return msgspec.structs.replace(
            self.order, job_id=job_id, final=final, delivery=delivery, deadline_seconds=deadline_seconds
        )


class Vault:
    """Seals and opens tokens for the callers of one front. Keeps nothing."""

    def __init__(self, sealer: Sealer, metrics: Metrics, *, identity_seconds: float, proof_seconds: float) -> None:
        self._sealer = sealer
        self._metrics = metrics
        self.identity_seconds = identity_seconds
        self._proof_seconds = proof_seconds

    def seal_identity(self, kept: KeptIdentity, caller: Caller) -> str:
        """Raises BadRequest for one that no token can hold."""
        payload = msgspec.msgpack.encode(kept)
        if len(payload) > MAX_PAYLOAD_BYTES:
            message = f"The identity has {len(payload)} bytes, too many for a token: send fewer selfies."
            raise BadRequest("identity_too_large", message, value=len(payload), limit=MAX_PAYLOAD_BYTES)
        return self._sealer.seal("identity", payload, caller.id, self.identity_seconds)

    def open_identity(self, token: str, caller: Caller, bundle: BundleInfo, adapter: str | None) -> KeptIdentity:
        """Raises BadRequest or Forbidden with a code token_* or identity_*."""
        kept = _decode("identity", self._sealer.open("identity", token, caller.id), KeptIdentity)
        _check_revision("identity", kept.revision, bundle)
        if adapter not in (None, kept.adapter):
            raise BadRequest(
                "identity_wrong_adapter",
                f"The identity was made for the adapter '{kept.adapter}': leave out 'adapter', or make it again for "
                f"'{adapter}'.",
                value=adapter,
                extra={"field": "adapter", "allowed": [kept.adapter]},
            )
        self._metrics.tokens.labels("identity").inc()
        return kept

    def seal_proof(self, proof: Proof, caller: Caller) -> str | None:
        """None for one that no token can hold: eight selfies of an adapter with large identities."""
        payload = msgspec.msgpack.encode(proof)
        if len(payload) > MAX_PAYLOAD_BYTES:
            return None
        return self._sealer.seal("proof", payload, caller.id, self._proof_seconds)

    def open_proof(self, token: str, caller: Caller, bundle: BundleInfo) -> Proof:
        """Raises BadRequest or Forbidden with a code token_* or proof_*."""
        proof = _decode("proof", self._sealer.open("proof", token, caller.id), Proof)
        _check_revision("proof", proof.revision, bundle)
        self._metrics.tokens.labels("proof").inc()
        return proof


class CallerTokens:
    """The tokens of one job, made as it runs. This base makes none, and only lets the identity out of the events."""

    identity: str | None = None

    def __init__(self) -> None:
        self.proofs: dict[int, str] = {}  # by the picture's index

    def take(self, event: JobEvent) -> JobEvent:
        """The event as it may be kept: without the identity."""
        return msgspec.structs.replace(event, identity=None) if isinstance(event, Started) else event

    def forget(self) -> None:
        """The job has ended: what tokens were made of goes, the tokens stay."""


class EnrolmentTokens(CallerTokens):
    """The identity, sealed."""

    def __init__(self, vault: Vault, caller: Caller, revision: str) -> None:
        super().__init__()
        self._vault, self._caller, self._revision = vault, caller, revision
        self.expires_at = 0.0  # wall clock, for people

    def take(self, event: JobEvent) -> JobEvent:
        """Raises BadRequest for an identity that no token can hold."""
        if isinstance(event, Started):
            assert event.identity is not None, "it was asked for"
            kept = KeptIdentity(event.adapter, self._revision, event.identity)
            self.identity = self._vault.seal_identity(kept, self._caller)
            self.expires_at = time.time() + self._vault.identity_seconds
        return super().take(event)


class ProofTokens(CallerTokens):
    """A proof of each picture."""

    def __init__(self, vault: Vault, caller: Caller, order: Order, *, style: str | None, bundle: BundleInfo) -> None:
        super().__init__()
        self._vault, self._caller = vault, caller
        bare = msgspec.structs.replace(order, job_id="", photos=Photos(), delivery=Delivery(), wants_identity=False)
        self.proof: Proof | None = Proof(bare, style, bundle.name, bundle.revision)

    def take(self, event: JobEvent) -> JobEvent:
        match event:
            case Started() if self.proof is not None:
                self.proof = msgspec.structs.replace(self.proof, order=_in_full(self.proof.order, event))
            case Portrait() if self.proof is not None:
                order = msgspec.structs.replace(self.proof.order, seeds=[event.seed])
                token = self._vault.seal_proof(msgspec.structs.replace(self.proof, order=order), self._caller)
                if token is not None:
                    self.proofs[event.index] = token
            case _:
                pass
        return super().take(event)

    def forget(self) -> None:
        self.proof = None


def _in_full(order: Order, started: Started) -> Order:
    """With what the worker filled in, so that other defaults make no other picture."""
    return msgspec.structs.replace(
        order,
        identity=started.identity,
        adapter=started.adapter,
        sampling=started.sampling,
        placing=started.placing,
    )


def _decode(kind: Kind, payload: bytes, layout: type[K]) -> K:
    """Raises BadRequest for what another release of this service has sealed."""
    try:
        return msgspec.msgpack.decode(payload, type=layout)
    except msgspec.DecodeError:
        message = f"This {kind} token was sealed by another release of this service: ask for a new one."
        raise BadRequest("token_malformed", message, extra={"field": kind}) from None


def _check_revision(kind: Kind, revision: str, bundle: BundleInfo) -> None:
    if revision != bundle.revision:
        raise BadRequest(
            f"{kind}_wrong_bundle",
            f"This {kind} was made with other model weights than those loaded here: make it again from the selfies.",
            extra={"field": kind},
        )

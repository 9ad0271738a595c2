"""Proofs that are too long for a header: they stay here for a while, and their callers get references to them.

A reference is `kept-proof.` and the id of the proof's job, which nobody can guess. It gives away no more than the
proof would: a proof is encrypted, and opens for its own caller alone.
"""

from service.errors import BadRequest
from service.jobs.result_cache import ResultCache

PREFIX = "kept-proof."
MAX_BYTES = 32_000_000  # some 2,500 proofs of one selfie in full size


class KeptProofs(ResultCache[str]):
    """Sealed proofs by their references. Used from the event loop's thread only."""

    def __init__(self, *, seconds: float, max_bytes: int = MAX_BYTES) -> None:
        super().__init__(seconds=seconds, max_bytes=max_bytes)

    def keep(self, job_id: str, proof: str) -> str | None:
        """A reference to the proof; None where nothing may be kept."""
        if not self.seconds:
            return None
        reference = PREFIX + job_id
        self.put(reference, proof, len(proof))
        return reference

    def forget(self, job_id: str) -> None:
        self.drop(PREFIX + job_id)

    def resolve(self, text: str) -> str:
        """The proof itself, of a reference or of a proof. Raises BadRequest for a reference to none."""
        if not text.startswith(PREFIX):
            return text
        proof = self.find(text)
        if proof is None:
            raise BadRequest(
                "proof_not_kept",
                f"The proof that this stands for is gone: it was kept for {self.seconds:g} s, by the process that made "
                "the picture. Make the picture again, as JSON to get the proof itself.",
                limit=self.seconds,
                extra={"field": "proof"},
            )
        return proof

"""Everything that the front can answer instead of a portrait, as one tree.

    ServiceError
    ├── BadRequest            400  a field is wrong, missing or unknown
    ├── Unauthorized          401  no API key, or one that is not valid
    ├── Forbidden             403  a valid key that may not do this, or another caller's token
    ├── NotFound              404
    ├── NotAcceptable         406  no answer form that the caller accepts
    ├── UploadTooSlow         408  the body took too long to arrive; the connection is closed
    ├── JobCancelled          409  somebody cancelled the job while another waited for it
    ├── TooLarge              413  bytes over a limit; the connection is closed
    ├── UnsupportedMedia      415  a body or a picture of a kind that we don't read
    ├── BadInput              422  the input of a prediction is wrong, or can't be had here
    ├── BadPicture            422  the bytes are no picture, or a picture over a limit
    ├── KeyReused             422  the Idempotency-Key of another request
    ├── BadSelfie             422  a picture that the photo judge can't use
    ├── QuotaExceeded         429  this caller's quota is used up (Retry-After); others are still served
    ├── JobFailed             500  the worker failed this job
    ├── NoCapacity            503  full, starting or stopping: try again (Retry-After)
    └── DeadlineExceeded      504  accepted, but not finished in time

The class carries the status, the instance the stable `code`, a sentence for a person and, where something was
measured, the value and its limit. Answers are application/problem+json (RFC 9457).
"""

from typing import Any, ClassVar, Self

JsonValue = float | int | str | None


class ServiceError(Exception):
    """A refusal with a reason. `code` is stable; `message` says what was wrong and what to do about it."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "The service failed"
    closes_connection: ClassVar[bool] = False
    problem_type: ClassVar[str | None] = None  # where one is registered; else our own page's anchor for the code

    def __init__(
        self,
        code: str,
        message: str,
        *,
        value: JsonValue = None,
        limit: JsonValue = None,
        retry_after_seconds: int | None = None,
        extra: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(code)  # never the message: it may quote the caller's value, and tracebacks are logged
        self.code = code
        self.message = message
        self.value = value
        self.limit = limit
        self.retry_after_seconds = retry_after_seconds
        self.extra = extra or {}
        self.headers = headers or {}

    @classmethod
    def of_field(cls, code: str, name: str, message: str, *, limit: JsonValue = None) -> Self:
        """About one field of the request, which the answer names."""
        return cls(code, message, limit=limit, extra={"field": name[:64]})

    def again(self) -> Self:
        """The same refusal for one more caller: a raised exception holds the frames that it went through."""
        return type(self)(
            self.code,
            self.message,
            value=self.value,
            limit=self.limit,
            retry_after_seconds=self.retry_after_seconds,
            extra=dict(self.extra),
            headers=dict(self.headers),
        )

    def problem(self, request_id: str, prefix: str = "") -> dict[str, Any]:
        """The RFC 9457 body; `prefix` stands before our paths in the caller's address."""
        body: dict[str, Any] = {
            "type": self.problem_type or f"{prefix}/docs/errors#{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.message,
            "request_id": request_id,
        }
        if self.value is not None:
            body["value"] = self.value
        if self.limit is not None:
            body["limit"] = self.limit
        if self.retry_after_seconds is not None:
            body["retry_after_seconds"] = self.retry_after_seconds
        return body | self.extra


class BadRequest(ServiceError):
    status = 400
    title = "The request is not valid"


class Unauthorized(ServiceError):
    status = 401
    title = "An API key is needed"
    closes_connection = True  # the body is not read


class Forbidden(ServiceError):
    status = 403
    title = "This is not allowed"
    closes_connection = True


class NotFound(ServiceError):
    status = 404
    title = "There is no such thing here"


class NotAcceptable(ServiceError):
    status = 406
    title = "No acceptable form of answer"


class UploadTooSlow(ServiceError):
    status = 408
    title = "The body took too long to arrive"
    closes_connection = True


class JobCancelled(ServiceError):
    status = 409
    title = "The job was cancelled"


class TooLarge(ServiceError):
    status = 413
    title = "The body is too large"
    closes_connection = True


class UnsupportedMedia(ServiceError):
    status = 415
    title = "This kind of content is not read here"


class BadInput(ServiceError):
    status = 422
    title = "The input is not valid"


class BadPicture(ServiceError):
    status = 422
    title = "The picture can't be read"


class KeyReused(ServiceError):
    status = 422
    title = "The Idempotency-Key belongs to another request"


class BadSelfie(ServiceError):
    status = 422
    title = "The photo can't be used"


class QuotaExceeded(ServiceError):
    status = 429
    title = "Your quota is used up"
    problem_type = "https://iana.org/assignments/http-problem-types#quota-exceeded"


class JobFailed(ServiceError):
    status = 500
    title = "The job failed"


class NoCapacity(ServiceError):
    status = 503
    title = "No capacity right now"
    problem_type = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
    closes_connection = True


class DeadlineExceeded(ServiceError):
    status = 504
    title = "The deadline passed"

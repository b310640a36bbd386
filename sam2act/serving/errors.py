"""How a request to a server can fail."""

from __future__ import annotations

from sam2act.core.errors import UserError

# Code of an error -> status of its HTTP answer.
STATUS = {
    "bad_request": 400,  # what was sent cannot be understood or used
    "not_authorised": 401,
    "out_of_step": 409,  # the session is not where the client believes it to be
    "too_large": 413,
    "too_slow": 408,
    "busy": 503,  # too many sessions or requests; later it may work
    "internal": 500,
}


class RequestError(UserError):
    """A request that is not answered with an action."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """That of an HTTP answer."""
        return STATUS[self.code]


def as_request_error(error: Exception) -> RequestError:
    """`error` with a code; users hear no more than its type of errors that are ours."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, UserError):
        return RequestError("bad_request", str(error))
    return RequestError(
        "internal", f"the server failed ({type(error).__name__}); its log says more"
    )

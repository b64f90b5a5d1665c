"""What OAuth's endpoints take and return: a form, JSON that nobody stores, and errors by RFC 6749 §5.2."""

from typing import Final
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response

MAX_FORM_BYTES: Final = 16 * 1024
MAX_FORM_FIELDS: Final = 30
NOT_STORED: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_FORM: Final = "application/x-www-form-urlencoded"


class OAuthError(Exception):
    """A refusal by RFC 6749 §5.2; `code` is its `error`."""

    def __init__(self, code: str, description: str) -> None:
        self.code = code
        self.description = description
        super().__init__(code)

    def response(self) -> Response:
        told = {"error": self.code, "error_description": self.description}
        if self.code != "invalid_client":
            return json_response(told, 400, NOT_STORED)
        # A 401 without a challenge is none (RFC 9110 §15.5.2), in whatever way the client tried to prove itself.
        return json_response(told, 401, {**NOT_STORED, "WWW-Authenticate": 'Basic realm="oauth"'})


def json_response(content: object, status: int, headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(content), status_code=status, headers=headers, media_type="application/json")


async def read_form(request: Request) -> dict[str, str]:
    """The form's fields. Raises OAuthError for one that cannot be read, or has a field twice (§3.2)."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise OAuthError("invalid_request", f"Send the parameters as {_FORM}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise OAuthError("invalid_request", f"The form is larger than {MAX_FORM_BYTES} bytes.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_FORM_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise OAuthError("invalid_request", "The form cannot be read.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "A parameter is given twice.")
    return form


def required(form: dict[str, str], name: str) -> str:
    """The field. Raises OAuthError for one that is missing or empty, which is the same (§3.1)."""
    if not form.get(name):
        raise OAuthError("invalid_request", f"{name} is missing.")
    return form[name]

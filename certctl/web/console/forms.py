"""What a form sends (``application/x-www-form-urlencoded``), bounded as all that arrives."""

from __future__ import annotations

from urllib.parse import parse_qsl

import attrs
from twisted.web.server import Request

from certctl.web.api.call import ApiError

MOST_FIELDS = 300


@attrs.frozen
class Form:
    """The fields of a form."""

    fields: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, request: Request) -> Form:
        """Read a request's body; raise ApiError for what no form of ours sends."""
        if getattr(request, "too_large", False):
            raise ApiError(413, "too_large", "the form is too large: 64 KiB are allowed")
        sent = b"" if request.content is None else bytes(request.content.read())
        try:
            fields = parse_qsl(
                sent.decode("ascii"),
                keep_blank_values=True,
                strict_parsing=bool(sent),
                encoding="utf-8",
                errors="strict",
                max_num_fields=MOST_FIELDS,
            )
        except ValueError:
            raise ApiError(400, "invalid_request", "the form could not be read: send it again") from None
        return cls(tuple(fields))

    def one(self, name: str) -> str:
        """The last value of a field without blanks around it, empty if there is none."""
        return next((value.strip() for each, value in reversed(self.fields) if each == name), "")

    def all(self, name: str) -> list[str]:
        """The values of a field of which there may be several, without empty ones."""
        return [value.strip() for each, value in self.fields if each == name and value.strip()]

    def lines(self, name: str) -> list[str]:
        """The entries of a field that has one on each line, or several with commas or blanks between them."""
        return self.one(name).replace(",", " ").split()

    def given(self, *names: str) -> dict[str, str]:
        """Those of the fields that are not empty."""
        return {name: value for name in names if (value := self.one(name))}

"""How a command ends that could not do what it was asked: one sentence, and an exit status that scripts can read."""

from __future__ import annotations

from enum import IntEnum

import click


class Exit(IntEnum):
    """The exit statuses of ``certctl``, which docs/cli.md lists."""

    OK = 0
    FAILED = 1  # refused as it was asked, or found wanting
    USAGE = 2  # the command line, and the settings that it reads
    UNREACHABLE = 3  # no connection, or none that can be trusted
    DENIED = 4  # no key, or one that may not do this
    ABSENT = 5
    CONFLICT = 6  # it was changed meanwhile, or something hangs on it
    LATER = 7  # the same command may succeed in a moment


class Failure(click.ClickException):
    """Why a command failed: a sentence with the remedy. It is all that the operator sees."""

    def __init__(self, message: str, exit: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = int(exit)  # type: ignore[misc]  # click reads it of the instance


def refused(status: int, message: str, retry_after: str, request_id: str) -> Failure:
    """What an answer of the REST API that is no success means to the operator."""
    message = message.rstrip(".")
    if status == 401:
        return Failure(
            "The server does not know this API key: check CERTCTL_API_KEY or --key-file; it may have expired or have"
            " been revoked.",
            Exit.DENIED,
        )
    if status == 403:
        return Failure(f"The API key may not do this: {message}. Use a key with that role.", Exit.DENIED)
    if status == 404:
        return Failure(
            f"Not found: {message}. The command list of the same group shows what there is.", Exit.ABSENT
        )
    if status == 409:
        return Failure(f"Refused, because it conflicts with what is there: {message}.", Exit.CONFLICT)
    if status == 412:
        return Failure(f"Somebody else changed it meanwhile: {message}. Start again.", Exit.CONFLICT)
    if status in (429, 503):
        wait = f" in {retry_after} seconds" if retry_after else " later"
        return Failure(f"The server asks to wait: {message}. Try again{wait}.", Exit.LATER)
    if status >= 500:
        where = f" (request {request_id})" if request_id else ""
        return Failure(f"The server failed{where}: {message}. Its log says why.", Exit.FAILED)
    return Failure(f"Refused: {message}.", Exit.FAILED)

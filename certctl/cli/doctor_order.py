"""An order of the doctor's own: whether a client would get a certificate."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

from certctl.cli.acme_client import AcmeClient, Refused
from certctl.cli.client import Api
from certctl.cli.failures import Failure
from certctl.cli.findings import Finding, fail, ok, warn

SUFFIX = "certctl-doctor.internal"  # where a profile lets any name pass
BOUND_FOR = timedelta(minutes=10)


async def order_under(api: Api, profile_id: str, name: str | None) -> AsyncIterator[Finding]:
    """Make an account and an order under a profile, finalize it where that needs no challenge, and clean up."""
    try:
        profile = await api.get(f"profiles/{profile_id}")
    except Failure as failure:
        words, _, remedy = failure.message.partition(": ")
        yield fail("order", f"{words}: {remedy}", "certctl profile list shows what there is")
        return
    wanted = name or generated(profile)
    # Over the way by which the API is reached: the URL that clients know may lead through a proxy.
    directory = f"{api.access.url}/acme/profile/{profile_id}/directory"
    client = AcmeClient(api.http, directory)
    try:
        meta = await client.begin()
        await client.register(
            await _binding(api, profile_id) if meta.get("externalAccountRequired") else None
        )
    except (Refused, Failure, KeyError) as error:
        yield fail(
            "order",
            f"no account can be made under {profile_id}: {error}",
            "see the message, and the server's log",
        )
        return
    try:
        yield await _ordered(client, profile, wanted)
    except (Refused, Failure, KeyError) as error:
        yield fail(
            "order", f"{wanted} under {profile_id}: {error}", "see the message; --name orders another name"
        )
    try:
        await client.deactivate(client.kid)
        yield ok("order", "its account is deactivated")
    except (Refused, Failure) as error:
        yield warn(
            "order",
            f"its account stays: {error}",
            f"certctl account deactivate {client.kid.rpartition('/')[2]}",
        )


async def _ordered(client: AcmeClient, profile: dict[str, Any], name: str) -> Finding:
    url, order = await client.order(name)
    if order["status"] != "ready":
        for each in order["authorizations"]:
            await client.deactivate(each)
        words = f"an order for {name} under {profile['id']} is {order['status']}, as challenges are to be answered"
        return ok("order", f"{words}; it was given up")
    leaf, *above = await client.certificate(order["finalize"], url, name)
    leaf.verify_directly_issued_by(above[0])
    await client.revoke(leaf)
    words = f"{name} under {profile['id']}: a certificate with serial {leaf.serial_number:x}"
    return ok("order", f"{words} was issued, and revoked again")


async def _binding(api: Api, profile_id: str) -> tuple[str, str]:
    """A key for an external account binding that is good for this once."""
    ends = datetime.now(UTC) + BOUND_FOR
    body = {
        "profile_id": profile_id,
        "name": "certctl doctor",
        "single_use": True,
        "expires_at": ends.isoformat(),
    }
    made = (await api.call("POST", "eab-keys", body)).json
    return made["id"], made["mac_key"]


def generated(profile: dict[str, Any]) -> str:
    """A name that nobody has, and that the profile's policy is likely to let pass."""
    label = f"certctl-doctor-{secrets.token_hex(6)}"
    allowed = (profile.get("policy", {}).get("names") or {}).get("allow") or []
    suffixes = [each[2:] for each in allowed if each.startswith("*.")]
    exact = [
        each for each in allowed if not each.startswith("*.") and "/" not in each and not each[0].isdigit()
    ]
    if suffixes:
        return f"{label}.{suffixes[0]}"
    return exact[0] if exact else f"{label}.{SUFFIX}"

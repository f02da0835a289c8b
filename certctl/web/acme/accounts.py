"""newAccount, account, orders list, keyChange (RFC 8555 sections 7.3 and 7.1.2.1)."""

from __future__ import annotations

from typing import Any

from certctl.acme import jose, keys
from certctl.acme.objects import Account
from certctl.acme.problems import Problem, ProblemType, malformed
from certctl.authority.accounts import must_be_valid
from certctl.web.acme.call import Call, Urls
from certctl.web.answer import Answer, document


def account_document(account: Account, urls: Urls) -> dict[str, Any]:
    """RFC 8555 section 7.1.2."""
    value: dict[str, Any] = {"status": account.status.value, "orders": urls.to("orders", account.id)}
    if account.contact:
        value["contact"] = list(account.contact)
    if account.terms_agreed:
        value["termsOfServiceAgreed"] = True
    return value


async def new_account(call: Call[None]) -> Answer:
    """Make an account for the key that signed, or find the one that is there."""
    assert call.jws is not None
    payload, account, made = call.payload, call.account, False
    if account is None:
        key, url = call.signing_key, call.jws.url
        account, made = await call.authority.accounts.create(call.profile, key, payload, url, call.network())
    value, location = account_document(must_be_valid(account), call.urls), call.urls.to("account", account.id)
    if made and account.eab_key_id is not None:  # "The account object [..] MUST include" it (section 7.3.4)
        value["externalAccountBinding"] = payload["externalAccountBinding"]
    return document(value, status=201 if made else 200, location=location)


async def account(call: Call[None]) -> Answer:
    """Show an account to itself, change its contacts, or deactivate it."""
    account = _own(call)
    if not call.reads:
        account = await call.authority.accounts.update(account, call.payload)
    return document(account_document(account, call.urls))


async def orders(call: Call[None]) -> Answer:
    """A page of the account's orders, with a link to the next one."""
    account = _own(call)
    page, after = await call.authority.orders.list(account, call.query.get("after", ""))
    links = []
    if after is not None:
        links.append(f'<{call.urls.to("orders", account.id)}?after={after}>;rel="next"')
    return document({"orders": [call.urls.to("order", each) for each in page]}, links=links)


def _own(call: Call[None]) -> Account:
    if call.arguments["id"] != call.signer.id:
        raise Problem(ProblemType.UNAUTHORIZED, "that is another account")
    return call.signer


async def key_change(call: Call[None]) -> Answer:
    """Give the account another key, which signs the inner JWS (RFC 8555 section 7.3.5)."""
    assert call.jws is not None
    inner = jose.parse_value(call.payload)
    if inner.jwk is None:
        raise malformed("the inner JWS carries the new key as jwk")
    new = keys.public_key(inner.jwk)
    jose.verify(inner, new)
    change = inner.payload_object()
    if inner.url != call.jws.url:
        raise malformed("the inner JWS has the same url as the outer")
    if inner.nonce is not None:
        raise malformed("the inner JWS has no nonce")
    if change.get("account") != call.urls.to("account", call.signer.id):
        raise malformed("account in the inner payload is the URL of the account that signs")
    if not isinstance(change.get("oldKey"), dict) or keys.public_key(change["oldKey"]).jwk != call.signer.jwk:
        raise malformed("oldKey in the inner payload is the account's present key")
    account, holder = await call.authority.accounts.roll_key(call.profile, call.signer, new)
    if holder is not None:
        location = {"Location": call.urls.to("account", holder.id)}
        raise Problem(
            ProblemType.MALFORMED, "an account holds the new key already", status=409, headers=location
        )
    return document(account_document(account, call.urls), location=call.urls.to("account", account.id))

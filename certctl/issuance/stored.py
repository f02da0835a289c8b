"""Templates as data that is stored until a signer has answered."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from certctl.acme.identifiers import Identifier, IdentifierType
from certctl.issuance.issuer import Template


def packed(template: Template) -> dict[str, Any]:
    """A template as JSON can hold it: names as ACME writes them, the key as SubjectPublicKeyInfo in base64."""
    key = template.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return {
        **attrs.asdict(template, recurse=False),
        "names": [each.document() for each in template.names],
        "public_key": base64.b64encode(key).decode("ascii"),
        "not_before": template.not_before.isoformat(),
        "not_after": template.not_after.isoformat(),
        "extended_key_usages": list(template.extended_key_usages),
    }


def unpacked(data: Mapping[str, Any]) -> Template:
    """What ``packed`` packed."""
    key: Any = load_der_public_key(base64.b64decode(data["public_key"]))
    values: dict[str, Any] = {
        **data,
        "names": tuple(Identifier(IdentifierType(each["type"]), each["value"]) for each in data["names"]),
        "public_key": key,
        "not_before": datetime.fromisoformat(data["not_before"]),
        "not_after": datetime.fromisoformat(data["not_after"]),
        "extended_key_usages": tuple(data["extended_key_usages"]),
    }
    return Template(**values)

"""Certificates, as operators look for them."""

from __future__ import annotations

from datetime import datetime

import attrs

from certctl.acme.identifiers import Identifier
from certctl.storage import certificates
from certctl.storage.database import Query, Row, every, searching
from certctl.storage.orders import unpack
from certctl.storage.search.where import Where

FEW = (
    2000  # names: so many are looked up one by one; beyond, certificates are walked and asked for their names
)
_VERSION = (
    "v.id, v.profile_id, v.issuer_id, v.account_id, v.order_id, v.serial_number, m.names, v.not_before, v.not_after,"
    " v.created_at, v.revoked_at, v.revocation_reason, m.newest_version_id"
)


@attrs.frozen(kw_only=True)
class Listed:
    """A certificate as a list shows it: without itself."""

    id: str
    profile_id: str
    issuer_id: str
    account_id: str
    order_id: str
    serial: str  # lower-case hex without leading zeros
    names: tuple[Identifier, ...]
    not_before: datetime
    not_after: datetime
    created_at: datetime
    revoked_at: datetime | None
    revocation_reason: int | None
    newest: bool  # whether the account has none for these names that was issued later


def _listed(row: Row) -> Listed:
    return Listed(
        id=row[0],
        profile_id=row[1],
        issuer_id=row[2],
        account_id=row[3],
        order_id=row[4],
        serial=row[5],
        names=unpack(row[6]),
        not_before=row[7],
        not_after=row[8],
        created_at=row[9],
        revoked_at=row[10],
        revocation_reason=row[11],
        newest=row[12] == row[0],
    )


@attrs.frozen
class NameRange:
    """Names that are one name, or that end in one."""

    text: str  # the name; with a dot in front, all that end so

    @property
    def bounds(self) -> tuple[bytes, bytes]:
        """The least of the reversed names, and the least that is beyond them."""
        least = certificates.backwards(self.text)
        return least, (least[:-1] + b"/" if self.text.startswith(".") else least + b"\0")


@attrs.frozen(kw_only=True)
class CertificateFilter:
    """Which certificates are looked for; None stands for any. ``now`` divides the expired from the valid."""

    now: datetime
    name: NameRange | None = None
    serial: str | None = None
    account_id: str | None = None
    profile_id: str | None = None
    issuer_id: str | None = None
    status: str | None = None  # valid, expired or revoked
    expires_after: datetime | None = None
    expires_before: datetime | None = None
    not_revoked: bool = False
    newest_id: str | None = None  # what has a later id is not meant

    @property
    def by_end(self) -> bool:
        """Whether it is by their ends that certificates are chosen, so that they come in that order."""
        ends = (self.expires_after, self.expires_before)
        return self.status == "expired" or any(each is not None for each in ends)

    def where(self) -> Where:
        """The conditions on certificate_versions v, but for the name."""
        where = Where()
        for column in ("account_id", "profile_id", "issuer_id"):
            where.equal(**{f"v.{column}": getattr(self, column)})
        where.equal(**{"v.serial_number": self.serial})
        if self.expires_after is not None:
            where.also("v.not_after >= ?", self.expires_after)
        if self.expires_before is not None:
            where.also("v.not_after < ?", self.expires_before)
        if self.status == "revoked":
            where.also("v.revoked_at IS NOT NULL")
        elif self.status is not None:
            where.also(
                f"v.revoked_at IS NULL AND v.not_after {'>=' if self.status == 'valid' else '<'} ?", self.now
            )
        if self.not_revoked:
            where.also("v.revoked_at IS NULL")
        if self.newest_id is not None:
            where.also("v.id <= ?", self.newest_id)
        return where


def how_many_names(name: NameRange) -> Query[int]:
    """How many names there are of a range; FEW + 1 stands for more than FEW."""
    return searching(
        "SELECT count(*) FROM (SELECT 1 FROM managed_certificate_names WHERE reversed_name >= ?"
        " AND reversed_name < ? LIMIT ?) found",
        (*name.bounds, FEW + 1),
        lambda rows: int(rows[0][0]),
    )


_NAMES = "n.reversed_name >= ? AND n.reversed_name < ?"
_WITH_NAME = (
    "EXISTS (SELECT 1 FROM managed_certificate_names n WHERE n.certificate_id = v.certificate_id"
    f" AND {_NAMES})"
)


def _found(wanted: CertificateFilter, names: int) -> tuple[str, Where, str]:
    """A query that finds the ids, before, in and after its conditions; ``names`` is how_many_names."""
    where = wanted.where()
    if wanted.name is None:
        return "SELECT v.id FROM certificate_versions v", where, ""
    if names > FEW:
        return "SELECT v.id FROM certificate_versions v", where.also(_WITH_NAME, *wanted.name.bounds), ""
    # From the few names to their certificates: CROSS, so that SQLite does not go the other way round.
    where.also(f"{_NAMES} AND v.certificate_id = n.certificate_id", *wanted.name.bounds)
    begin = "SELECT v.id FROM managed_certificate_names n CROSS JOIN certificate_versions v"
    return begin, where, " GROUP BY v.id"


# What comes behind a certificate in the order of the ends. The first condition is there for the index.
_END = "(SELECT c.not_after FROM certificate_versions c WHERE c.id = ?)"
_BEFORE = f"v.not_after <= {_END} AND (v.not_after, v.id) < ({_END}, ?)"


def page(wanted: CertificateFilter, names: int, before: str | None, limit: int) -> Query[list[Listed]]:
    """Certificates behind a cursor, the newest first, or the last to end if they are chosen by that.

    ``names`` is what how_many_names found.
    """
    begin, where, end = _found(wanted, names)
    if not wanted.by_end:
        order = "v.id DESC"
        where.before("v.id", before)
    else:
        order = "v.not_after DESC, v.id DESC"
        if before is not None:
            where.also(_BEFORE, before, before, before)
    return searching(
        f"SELECT {_VERSION} FROM certificate_versions v JOIN managed_certificates m ON m.id = v.certificate_id"
        f" WHERE v.id IN ({begin}{where}{end} ORDER BY {order} LIMIT ?) ORDER BY {order}",
        (*where.parameters, limit),
        every(_listed),
    )


def count(wanted: CertificateFilter, names: int) -> Query[int]:
    """How many certificates there are."""
    begin, where, end = _found(wanted, names)
    return searching(
        f"SELECT count(*) FROM ({begin}{where}{end}) found", where.parameters, lambda rows: int(rows[0][0])
    )


def newest_id() -> Query[str]:
    """The id of the newest certificate; empty if there is none."""
    return Query(
        "SELECT id FROM certificate_versions ORDER BY id DESC LIMIT 1",
        (),
        lambda rows: rows[0][0] if rows else "",
    )


def replaced_by(certificate_id: str) -> Query[str | None]:
    """The id of the newest certificate of the same account for the same names, if it is another."""
    return Query(
        "SELECT m.newest_version_id FROM certificate_versions v JOIN managed_certificates m"
        " ON m.id = v.certificate_id WHERE v.id = ? AND m.newest_version_id <> v.id",
        (certificate_id,),
        lambda rows: rows[0][0] if rows else None,
    )

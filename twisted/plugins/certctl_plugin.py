"""Make `twistd certctl` known to Twisted (no __init__.py belongs beside this file)."""

from twisted.application.service import ServiceMaker

certctl = ServiceMaker(
    "certctl",
    "certctl.service",
    "An ACME server for an organisation's own PKI.",
    "certctl",
)

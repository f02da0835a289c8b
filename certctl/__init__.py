"""An ACME server (RFC 8555) for an organisation's own PKI."""

__version__ = "0.1.0"

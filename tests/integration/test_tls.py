"""TLS as openssl sees it: versions, the server's own certificate, the operator's, and a CA of the organisation's."""

from __future__ import annotations

import signal
import socket
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.integration.acme import Session
from tests.integration.server import HOST, Ran, RunningServer, ServerTestCase, run
from tests.unit.web.tls_cases import DAY, NOW, general_name, private_pem

Signed = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]

USE_OF_SERVERS = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
USE_OF_CAS = x509.KeyUsage(False, False, False, False, False, True, True, False, False)


def signed(name: str, issuer: Signed | None = None, *, names: tuple[str, ...] = ()) -> Signed:
    """A certificate and its key: a CA's, or a server's if there are names for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    above, signer = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    builder = x509.CertificateBuilder(
        above, subject, key.public_key(), x509.random_serial_number(), NOW - DAY, NOW + 300 * DAY
    )
    if names:
        alternative = x509.SubjectAlternativeName([general_name(each) for each in names])
        builder = builder.add_extension(alternative, critical=False)
    above_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    below_key = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = (
        builder.add_extension(x509.BasicConstraints(not names, None), critical=True)
        .add_extension(USE_OF_SERVERS if names else USE_OF_CAS, critical=True)
        .add_extension(above_key, critical=False)
        .add_extension(below_key, critical=False)
    )
    return builder.sign(signer, hashes.SHA256()), key


def pem(*certificates: Signed) -> bytes:
    """Certificates, one after the other."""
    return b"".join(each[0].public_bytes(Encoding.PEM) for each in certificates)


class TlsTests(ServerTestCase):
    def s_client(self, server: RunningServer, *arguments: str | Path) -> Ran:
        """A handshake by openssl, which trusts the server's root alone."""
        where = f"{HOST}:{server.port}"
        return run("openssl", "s_client", "-connect", where, "-CAfile", server.trust, *arguments)

    def names(self, server: RunningServer) -> set[str]:
        """The names in the certificate that the server shows."""
        shown = ssl.get_server_certificate((HOST, server.port))
        names = x509.load_pem_x509_certificate(shown.encode()).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        return {str(each.value) for each in names.value}

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 with a chain that verifies; TLS 1.1 not at all."""
        server = self.serve()
        for version, protocol in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            shaken = self.s_client(server, version, "-verify_return_error", "-verify_ip", HOST)
            self.assertEqual(shaken.status, 0, shaken)
            self.assertIn(f"New, {protocol}", shaken.output)
            self.assertIn("Verify return code: 0 (ok)", shaken.output)
        for version in ("-tls1_1", "-tls1"):  # the level lets openssl itself offer them
            shaken = self.s_client(server, version, "-cipher", "DEFAULT:@SECLEVEL=0")
            self.assertNotEqual(shaken.status, 0, shaken)
            self.assertIn("alert protocol version", shaken.output)

    def test_own_names(self) -> None:
        """The server's own certificate is for this machine, and for what a setting adds."""
        server = self.serve({"CERTCTL_SERVER_TLS_NAMES": "acme.example.internal, 192.0.2.7"})
        hostname = socket.gethostname().lower()
        expected = {"localhost", "127.0.0.1", "::1", hostname, "acme.example.internal", "192.0.2.7"}
        self.assertEqual(self.names(server), expected)
        for name in ("localhost", "acme.example.internal"):
            shaken = self.s_client(
                server, "-servername", name, "-verify_hostname", name, "-verify_return_error"
            )
            self.assertIn("Verify return code: 0 (ok)", shaken.output)

    def test_operators_certificate(self) -> None:
        """The operator's files are served, and read again on SIGHUP while open connections go on."""
        root = signed("Example root")
        below = signed("Example web CA", root)
        files = self.path()
        certificate, key, trust = files / "server.pem", files / "server-key.pem", files / "root.pem"
        trust.write_bytes(pem(root))

        def write(*names: str) -> None:
            leaf = signed("a server", below, names=(HOST, *names))
            key.write_bytes(private_pem(leaf[1]))
            certificate.write_bytes(pem(leaf, below))

        write("first.example")
        server = RunningServer(
            self.path(),
            {"CERTCTL_SERVER_TLS_CERT_PATH": str(certificate), "CERTCTL_SERVER_TLS_KEY_PATH": str(key)},
        )
        server.trust = trust
        self.addCleanup(server.end)
        server.start()
        self.assertEqual(self.names(server), {HOST, "first.example"})
        shaken = self.s_client(server, "-verify_return_error", "-verify_ip", HOST)
        self.assertIn("Verify return code: 0 (ok)", shaken.output)

        session = Session(server)
        session.register()
        before = session.connection_id
        write("second.example")
        server.signal(signal.SIGHUP)
        server.wait_logged("SIGHUP: the server's certificate was read again")
        self.assertEqual(self.names(server), {HOST, "second.example"})
        self.assertIn(b"BEGIN CERTIFICATE", session.certificate("still.example.internal"))
        self.assertEqual(session.connection_id, before)

        certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nbroken\n-----END CERTIFICATE-----\n")
        server.signal(signal.SIGHUP)
        server.wait_logged(
            f"SIGHUP: {certificate}: this is not a certificate in PEM; the old certificate stays"
        )
        self.assertEqual(self.names(server), {HOST, "second.example"})
        self.assertIn(b"BEGIN CERTIFICATE", session.certificate("again.example.internal"))
        self.assertEqual(session.connection_id, before)
        session.close()

    def test_subordinate(self) -> None:
        """Under the organisation's root, the server's certificate and all that it issues lead to that root."""
        root = signed("Example Org root")
        issuing = signed("Example Org ACME CA", root)
        files = self.path()
        paths = {name: files / f"{name}.pem" for name in ("ca", "key", "org-root", "chain", "leaf")}
        paths["org-root"].write_bytes(pem(root))
        paths["ca"].write_bytes(pem(issuing))
        paths["key"].write_bytes(private_pem(issuing[1]))
        paths["key"].chmod(0o600)
        server = RunningServer(
            self.path(),
            {"CERTCTL_CA_CERT_PATH": str(paths["ca"]), "CERTCTL_CA_KEY_PATH": str(paths["key"])},
        )
        server.trust = paths["org-root"]
        self.addCleanup(server.end)
        server.start()
        shaken = self.s_client(server, "-verify_return_error", "-verify_ip", HOST)
        self.assertIn("Verify return code: 0 (ok)", shaken.output)
        session = Session(server)
        session.register()
        chain = session.certificate("leaf.example.internal")
        session.close()
        paths["leaf"].write_bytes(chain)
        paths["chain"].write_bytes(chain)
        leaf, *above = x509.load_pem_x509_certificates(chain)
        self.assertEqual([each.subject for each in above], [issuing[0].subject])
        self.assertEqual(leaf.issuer, issuing[0].subject)
        run(
            *("openssl", "verify", "-x509_strict", "-CAfile", paths["org-root"]),
            *("-untrusted", paths["chain"], paths["leaf"]),
        ).must_succeed()

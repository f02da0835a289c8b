"""What relying parties see of a revocation, by their own programs: openssl, curl, pkilint."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import Request, urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from twisted.trial.unittest import SkipTest

from certctl.issuance import hierarchy
from certctl.issuance.files import key_pem
from tests.acme_client import make_csr
from tests.integration.acme import Session
from tests.integration.postgres import shared
from tests.integration.server import (
    HOST,
    PROGRAMS,
    RunningServer,
    ServerTestCase,
    environment,
    free_port,
    run,
)

END = b"-----END CERTIFICATE-----\n"
NGINX = """
pid nginx.pid;
worker_processes 1;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    server {{
        listen {host}:{port} ssl;
        ssl_certificate {chain};
        ssl_certificate_key {private};
        ssl_stapling on;
        ssl_stapling_verify on;
        ssl_trusted_certificate {above};
    }}
}}
"""
SEEN_WITHIN = 2.0  # seconds from a revocation's answer to what relying parties are told


class Issued:
    """A certificate as files, as openssl wants them."""

    def __init__(self, server: RunningServer, session: Session, directory: Path, name: str) -> None:
        self.put(server, directory, name, session.certificate(name), server.root)

    @classmethod
    def under(cls, server: RunningServer, directory: Path, name: str, pem: bytes, root: Path) -> Issued:
        """A certificate that was issued before, judged by a root of its own."""
        made = cls.__new__(cls)
        made.put(server, directory, name, pem, root)
        return made

    def put(self, server: RunningServer, directory: Path, name: str, pem: bytes, root: Path) -> None:
        """Write the files."""
        directory.mkdir(exist_ok=True)
        leaf, issuer = x509.load_pem_x509_certificates(pem)[:2]
        self.root = root
        self.server, self.certificate, self.issuer, self.directory = server, leaf, issuer, directory
        self.leaf, self.chain = directory / f"{name}.pem", directory / "issuer.pem"
        self.leaf.write_bytes(leaf.public_bytes(Encoding.PEM))
        self.chain.write_bytes(issuer.public_bytes(Encoding.PEM))

    @property
    def payload(self) -> dict[str, object]:
        """What revokeCert is sent."""
        der = self.certificate.public_bytes(Encoding.DER)
        return {"certificate": base64.urlsafe_b64encode(der).decode().rstrip("="), "reason": 1}

    @property
    def crl_url(self) -> str:
        """The URL of the CRL in the certificate."""
        points = self.certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        return str((points[0].full_name or [])[0].value)

    def access(self, method: x509.ObjectIdentifier) -> str:
        """A URL of the authority information access."""
        found = self.certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
        return next(str(each.access_location.value) for each in found if each.access_method == method)

    def judged_by_crl(self) -> str:
        """What openssl verify says with the CRL of the certificate."""
        der, pem = self.directory / "list.crl", self.directory / "list.crl.pem"
        der.write_bytes(fetched(self.crl_url).body)
        verified = run("openssl", "crl", "-inform", "DER", "-in", der, "-CAfile", self.chain, "-out", pem)
        assert "verify OK" in verified.must_succeed().output, verified
        ran = run(
            *("openssl", "verify", "-crl_check", "-CAfile", self.root, "-untrusted", self.chain),
            *("-CRLfile", pem, self.leaf),
        )
        return ran.output

    def judged_by_ocsp(self, *options: str, port: int | None = None) -> str:
        """What openssl ocsp says, by POST, with its nonce unless the options say otherwise."""
        responder = at(self.access(x509.oid.AuthorityInformationAccessOID.OCSP), port)
        command: list[str | Path] = ["openssl", "ocsp", *options, "-issuer", self.chain, "-cert", self.leaf]
        ran = run(*command, "-url", responder, "-CAfile", self.root, "-verify_other", self.chain)
        assert "Response verify OK" in ran.must_succeed().output, ran
        assert "WARNING" not in ran.output, ran  # of a nonce that is not in the answer
        return ran.output

    def request(self, algorithm: hashes.HashAlgorithm | None = None) -> bytes:
        """An OCSP request without a nonce."""
        builder = ocsp.OCSPRequestBuilder()
        added = builder.add_certificate(self.certificate, self.issuer, algorithm or hashes.SHA1())
        return added.build().public_bytes(Encoding.DER)

    def asked_by_get(self, algorithm: hashes.HashAlgorithm | None = None, port: int | None = None) -> Fetched:
        """The answer to an OCSP request in a path."""
        path = quote(base64.b64encode(self.request(algorithm)).decode(), safe="")
        return fetched(at(f"{self.access(x509.oid.AuthorityInformationAccessOID.OCSP)}/{path}", port))


class Fetched:
    """An answer over plain HTTP."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


def at(url: str, port: int | None) -> str:
    """The same at another server, if a port is given."""
    return url if port is None else urlsplit(url)._replace(netloc=f"{HOST}:{port}").geturl()


def fetched(url: str, body: bytes | None = None) -> Fetched:
    """Ask by GET, or by POST with a body."""
    with urlopen(Request(url, body), timeout=20) as answer:
        return Fetched(answer.status, dict(answer.headers), answer.read())


def status_of(der: bytes) -> ocsp.OCSPCertStatus:
    """What a response says of its one certificate."""
    return ocsp.load_der_ocsp_response(der).certificate_status


def eventually_revoked(issued: Issued, began: float, port: int | None = None) -> None:
    """Return once CRL and OCSP know of a revocation; raise AssertionError if they do not in time."""
    while True:
        by_ocsp = status_of(issued.asked_by_get(port=port).body) is ocsp.OCSPCertStatus.REVOKED
        crl = x509.load_der_x509_crl(fetched(at(issued.crl_url, port)).body)
        if by_ocsp and crl.get_revoked_certificate_by_serial_number(issued.certificate.serial_number):
            return
        if time.monotonic() - began > SEEN_WITHIN:
            raise AssertionError(f"not seen within {SEEN_WITHIN} s: OCSP {by_ocsp}")
        time.sleep(0.1)


def settings(port: int, **more: str) -> dict[str, str]:
    """The settings of a server that serves /pki/ by plain HTTP."""
    return {
        "CERTCTL_PKI_HTTP_PORT": str(port),
        "CERTCTL_PKI_URL": f"http://{HOST}:{port}",
        **{f"CERTCTL_PKI_{name.upper()}": value for name, value in more.items()},
    }


class RelyingPartyTests(ServerTestCase):
    def issue(self, server: RunningServer, name: str = "one.example.com") -> tuple[Session, Issued]:
        """A certificate, and the account that has it."""
        session = Session(server)
        session.register()
        self.addCleanup(session.close)
        return session, Issued(server, session, self.path() / "files", name)

    def revoked(self, session: Session, issued: Issued) -> None:
        """Revoke a certificate, and wait until everybody can see it."""
        session.post("revoke-cert", issued.payload)
        eventually_revoked(issued, time.monotonic())

    def test_openssl_before_and_after(self) -> None:
        """OpenSSL takes a certificate until it is revoked and refuses it from then on, by CRL and OCSP."""
        server = self.serve(settings(free_port()))
        session, issued = self.issue(server)
        self.assertIn(": OK", issued.judged_by_crl())
        self.assertIn(": good", issued.judged_by_ocsp())
        self.revoked(session, issued)
        for _ in range(2):
            self.assertIn("certificate revoked", issued.judged_by_crl())
            for options in ((), ("-no_nonce",), ("-sha256",)):
                self.assertIn(": revoked", issued.judged_by_ocsp(*options))
            self.assertIn("keyCompromise", issued.judged_by_ocsp())
            session.close()
            server.restart()

    def test_get_and_caches(self) -> None:
        """By GET the answer is the same for everybody for a while, by either hash, and caches are told for how long."""
        server = self.serve(settings(free_port()))
        _, issued = self.issue(server)
        first, second = issued.asked_by_get(), issued.asked_by_get()
        self.assertEqual(first.body, second.body)
        self.assertIn("max-age=", first.headers["Cache-Control"])
        self.assertEqual(first.headers["Content-Type"], "application/ocsp-response")
        self.assertIs(status_of(issued.asked_by_get(hashes.SHA256()).body), ocsp.OCSPCertStatus.GOOD)

    def test_curl_conditional(self) -> None:
        """A cache that has the CRL is told 304 until somebody is revoked; the issuer's certificate is at its URL."""
        server = self.serve(settings(free_port()))
        session, issued = self.issue(server)
        etag, out = self.path() / "etag", self.path() / "out"
        command = ("curl", "-sS", "--noproxy", "*", "-w", "%{http_code}", "-o", out)
        conditional = (*command, "--etag-save", etag, "--etag-compare", etag, issued.crl_url)
        self.assertEqual(run(*conditional).output, "200")
        self.assertEqual(run(*conditional).output, "304")
        self.revoked(session, issued)
        self.assertEqual(run(*conditional).output, "200")
        issuer = issued.access(x509.oid.AuthorityInformationAccessOID.CA_ISSUERS)
        self.assertEqual(fetched(issuer).body, issued.issuer.public_bytes(Encoding.DER))
        self.assertEqual(run(*command, f"http://{urlsplit(issuer).netloc}/health").output, "404")

    def test_on_the_tls_port_too(self) -> None:
        """What plain HTTP serves is on the server's own port as well, and without a URL certificates name none."""
        server = self.serve()
        session, issued = self.issue(server)
        for wrong in (x509.CRLDistributionPoints, x509.AuthorityInformationAccess):
            with self.assertRaises(x509.ExtensionNotFound):
                issued.certificate.extensions.get_extension_for_class(wrong)
        answer = session.request("GET", f"{server.url}/pki/iss-internal-ca/crl")
        self.assertEqual(answer.status, 200)
        self.assertTrue(x509.load_der_x509_crl(answer.body).is_signature_valid(issued.issuer.public_key()))  # type: ignore[arg-type]

    def test_shards(self) -> None:
        """With several lists each certificate names its own, which says so and which openssl obeys."""
        server = self.serve(settings(free_port(), crl_shards="4"))
        session, issued = self.issue(server)
        self.assertIn("/crl/4/", issued.crl_url)
        self.assertIn(": OK", issued.judged_by_crl())
        self.revoked(session, issued)
        output = run(
            *("openssl", "crl", "-inform", "DER", "-in", issued.directory / "list.crl", "-noout", "-text")
        ).output
        self.assertIn("X509v3 Issuing Distribution Point: critical", output)
        self.assertIn("certificate revoked", issued.judged_by_crl())
        whole = x509.load_der_x509_crl(fetched(issued.crl_url.partition("/crl/")[0] + "/crl").body)
        self.assertEqual([each.serial_number for each in whole], [issued.certificate.serial_number])

    def test_pkilint(self) -> None:
        """Nothing is found by pkilint in the CRL, in OCSP answers and in what signs them."""
        server = self.serve(settings(free_port(), crl_shards="2"))
        session, issued = self.issue(server)
        good = issued.asked_by_get().body
        self.revoked(session, issued)
        for name, der in (("good", good), ("revoked", issued.asked_by_get().body)):
            file = issued.directory / f"{name}.ocsp"
            file.write_bytes(der)
            self.lint("lint_ocsp_response", "lint", file)
        for name, url in (
            ("shard", issued.crl_url),
            ("whole", issued.crl_url.partition("/crl/")[0] + "/crl"),
        ):
            file = issued.directory / f"{name}.crl"
            file.write_bytes(fetched(url).body)
            self.lint("lint_crl", "lint", "--type", "CRL", "--profile", "PKIX", file)
        responder = issued.directory / "responder.pem"
        signer = ocsp.load_der_ocsp_response(good).certificates[0]
        responder.write_bytes(signer.public_bytes(Encoding.PEM))
        self.lint("lint_pkix_cert", "lint", responder)
        self.lint("lint_pkix_cert", "lint", issued.leaf)

    def lint(self, program: str, *arguments: str | Path) -> None:
        """Have pkilint look at a file; it finds nothing of severity WARNING or above."""
        ran = run(PROGRAMS / program, *arguments[:1], "-s", "WARNING", *arguments[1:], env=environment())
        self.assertEqual((ran.status, ran.output.strip()), (0, ""), ran)

    def with_key(self, session: Session, directory: Path) -> tuple[Path, Path]:
        """The files of a chain and of its key, as a TLS server wants them."""
        key = ec.generate_private_key(ec.SECP256R1())
        feature = [x509.TLSFeature([x509.TLSFeatureType.status_request])]
        _, request = make_csr(["stapled.example.com"], key, extensions=feature)
        order = session.order("stapled.example.com")
        text = base64.urlsafe_b64encode(request).decode().rstrip("=")
        valid = session.post(order.json["finalize"], {"csr": text})
        chain, private = directory / "s.pem", directory / "s-key.pem"
        chain.write_bytes(session.post(valid.json["certificate"], None).body)
        private.write_bytes(key_pem(key))
        return chain, private

    def policy(self, server: RunningServer, assignment: str) -> None:
        """Change the default profile's policy, as an operator does."""
        command = (PROGRAMS / "certctl", "profile", "edit", "prof-default", "--set", f"policy.{assignment}")
        run(*command, env=server.settings, cwd=server.directory).must_succeed()

    def test_not_spoken_of(self) -> None:
        """A short-lived certificate names neither list nor responder, and says that there is none (RFC 9608)."""
        server = self.serve(settings(free_port()))
        self.policy(server, "no_rev_avail=true")
        _, issued = self.issue(server)
        self.lint("lint_pkix_cert", "lint", issued.leaf)
        text = run("openssl", "x509", "-in", issued.leaf, "-noout", "-text").output
        self.assertRegex(text, r"(2\.5\.29\.56|No Revocation Available): *\n")
        self.assertIn("CA Issuers - URI:", text)
        for absent in ("OCSP - URI", "CRL Distribution Points", "critical\n                .."):
            self.assertNotIn(absent, text)
        verified = run("openssl", "verify", "-CAfile", server.root, "-untrusted", issued.chain, issued.leaf)
        self.assertIn(": OK", verified.output)

    def test_nginx_staples(self) -> None:
        """Nginx fetches the answer from the URL in a must-staple certificate, verifies it, and staples it."""
        nginx = os.environ.get("NGINX_PROGRAM") or shutil.which("nginx")
        if nginx is None:
            raise SkipTest(
                "there is no nginx here: apt-get install nginx-light, or NGINX_PROGRAM=/path/to/nginx"
            )
        server = self.serve(settings(free_port()))
        self.policy(server, "must_staple=allowed")
        session, issued = self.issue(server)
        chain, private = self.with_key(session, issued.directory)
        above, port, directory = issued.directory / "above.pem", free_port(), self.path()
        above.write_bytes(issued.chain.read_bytes() + server.root.read_bytes())
        configuration = directory / "nginx.conf"
        configuration.write_text(
            NGINX.format(host=HOST, port=port, chain=chain, private=private, above=above)
        )
        serving = subprocess.Popen(
            [nginx, "-p", directory, "-e", "error.log", "-c", configuration, "-g", "daemon off;"]
        )
        try:
            deadline = (
                time.monotonic() + 20
            )  # nginx fetches when the first client asks, and staples from then on
            leaf = run("openssl", "x509", "-in", chain, "-noout", "-text").output
            self.assertRegex(leaf, r"TLS Feature: *\n *status_request")
            while "Cert Status: good" not in (shown := self.shown_by(server, port)):
                self.assertLess(time.monotonic(), deadline, shown + (directory / "error.log").read_text())
                time.sleep(0.2)
        finally:
            serving.terminate()
            serving.wait()

    def shown_by(self, server: RunningServer, port: int) -> str:
        """What openssl s_client says of a TLS server."""
        return run(
            "openssl", "s_client", "-connect", f"{HOST}:{port}", "-status", "-CAfile", server.root
        ).output

    def test_stapled(self) -> None:
        """A TLS server that staples (openssl's own) finds the responder by what the certificate says."""
        server = self.serve(settings(free_port()))
        self.policy(server, "must_staple=allowed")
        session, issued = self.issue(server)
        chain, private = self.with_key(session, issued.directory)
        port = free_port()
        leaf = x509.load_pem_x509_certificate(chain.read_bytes()).public_bytes(Encoding.DER)
        self.assertIn("Cert Status: good", self.staple(server, chain, private, port))
        payload = base64.urlsafe_b64encode(leaf).decode().rstrip("=")
        session.post("revoke-cert", {"certificate": payload, "reason": 4})
        time.sleep(SEEN_WITHIN)
        shown = self.staple(server, chain, private, port)
        self.assertIn("Cert Status: revoked", shown)
        self.assertIn("Revocation Reason: superseded", shown)

    def staple(self, server: RunningServer, chain: Path, private: Path, port: int) -> str:
        """What a client is shown by a server with this certificate."""
        told, above = chain.with_suffix(".log").open("wb"), chain.with_name("above.pem")
        self.addCleanup(told.close)
        command: list[str | Path] = ["openssl", "s_server", "-accept", f"{HOST}:{port}", "-status", "-www"]
        command += ["-cert", chain, "-key", private, "-CAfile", above]
        above.write_bytes(b"".join(chain.read_bytes().partition(END)[2:]) + server.root.read_bytes())
        serving = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told)
        try:
            for _ in range(100):
                shown = self.shown_by(server, port)
                if "OCSP" in shown:
                    return shown
                time.sleep(0.1)
            raise AssertionError("the server does not answer")
        finally:
            serving.kill()
            serving.wait()

    def test_strangers(self) -> None:
        """Whatever is asked below /pki/, the answer is no 500, and outside it the plain listener has nothing."""
        port = free_port()
        server = self.serve(settings(port))
        base = "/pki/iss-internal-ca"
        expected = {
            ("GET", f"{base}/ocsp/%00%ff%2F//%"): 200,  # malformedRequest
            ("GET", f"{base}/ocsp/" + "A" * 12000): 200,
            ("GET", f"{base}/ocsp"): 405,
            ("PUT", f"{base}/ocsp"): 405,
            ("POST", f"{base}/ocsp"): 200,
            ("POST", f"{base}/crl"): 405,
            ("GET", f"{base}/crl/3/0"): 404,
            ("GET", f"{base}/crl/128/0"): 404,
            ("GET", f"{base}/crl/2/2"): 404,
            ("GET", f"{base}/crl/2/1"): 200,
            ("HEAD", f"{base}/crl"): 200,
            ("GET", f"{base}/ca/../../etc"): 404,
            ("GET", "/pki/iss-nobody/crl"): 404,
            ("GET", "/pki/%ff%fe/crl"): 404,
            ("GET", "/acme/profile/prof-default/directory"): 404,
            ("GET", "/api/v1/profiles"): 404,
            ("GET", "/metrics"): 404,
        }
        for (method, path), status in expected.items():
            connection = HTTPConnection(HOST, port, timeout=20)
            connection.request(method, path, b"\x30\x84\xff" if method == "POST" else None)
            answer = connection.getresponse()
            self.assertEqual(answer.status, status, (method, path))
            if path.startswith(f"{base}/ocsp") and status == 200:
                found = ocsp.load_der_ocsp_response(answer.read())
                self.assertIs(found.response_status, ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
            connection.close()
        connection = HTTPConnection(HOST, port, timeout=20)
        connection.request("POST", f"{base}/ocsp", b"0" * 70_000)
        self.assertEqual(connection.getresponse().status, 413)
        connection.close()
        server.must_be_unhurt()

    def test_under_an_organisation(self) -> None:
        """An RSA CA under an organisation's root signs its lists, and its responder answers."""
        directory, now = self.path(), datetime.now(UTC)
        root_key, key = ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)
        root = hierarchy.root_certificate(root_key, "Corp root", now)
        issuing = hierarchy.issuing_certificate(key, "Corp issuing CA", root_key, root, now)
        files = directory / "ca.pem", directory / "ca-key.pem"
        files[0].write_bytes(b"".join(each.public_bytes(Encoding.PEM) for each in (issuing, root)))
        files[1].write_bytes(key_pem(key))
        files[1].chmod(0o600)
        given = {"CERTCTL_CA_CERT_PATH": str(files[0]), "CERTCTL_CA_KEY_PATH": str(files[1])}
        server = self.serve({**settings(free_port()), **given})
        session, issued = self.issue(server)
        self.assertIn(": OK", issued.judged_by_crl())
        self.revoked(session, issued)
        self.assertIn("certificate revoked", issued.judged_by_crl())
        self.assertIn(": revoked", issued.judged_by_ocsp())


class FleetTests(ServerTestCase):
    def test_two_servers_say_the_same(self) -> None:
        """What one server on PostgreSQL revokes, the other tells; both make one list, of one number."""
        url = shared().database(f"revocation_{free_port()}")
        one = RunningServer(self.path(), {**settings(free_port()), "CERTCTL_DATABASE_URL": url})
        self.addCleanup(one.end)
        one.start()
        other_port = free_port()
        other = RunningServer(self.path(), {**settings(other_port), "CERTCTL_DATABASE_URL": url})
        shutil.copytree(one.state, other.state, ignore=shutil.ignore_patterns("ocsp-*"))
        self.addCleanup(other.end)
        other.start()
        session = Session(one)
        self.addCleanup(session.close)
        session.register()
        kept = [Issued(one, session, self.path() / "files", f"n{number}.example.com") for number in range(3)]
        for each in kept:
            self.assertIn(": good", each.judged_by_ocsp(port=other_port))
        for each in kept[:2]:
            session.post("revoke-cert", each.payload)
            began = time.monotonic()
            for port in (None, other_port):
                eventually_revoked(each, began, port)
        lists = [fetched(at(kept[0].crl_url, port)) for port in (None, other_port)]
        self.assertEqual(lists[0].headers["ETag"], lists[1].headers["ETag"])
        found = [x509.load_der_x509_crl(each.body).tbs_certlist_bytes for each in lists]
        self.assertEqual(found[0], found[1])

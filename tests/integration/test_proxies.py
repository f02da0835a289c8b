"""The samples of nginx and HAProxy before certctl: each run as it is, but for addresses and files; a client passes."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.integration.clients import P256, Lego
from tests.integration.server import CHECKOUT, HOST, RunningServer, ServerTestCase, free_port

SAMPLES = CHECKOUT / "deploy/proxy"
CERTS = CHECKOUT / "deploy/test/certs"
INSIDE = "certctl.corp.example"  # what the proxies call certctl
NGINX_MODULES = Path("/usr/lib/nginx/modules")
NGINX = """
{modules}
daemon off; error_log stderr; pid {place}/nginx.pid; user {user};
events {{}}
{stream}
http {{
    client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f;
    uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
    access_log off;
    {http}
}}
"""


class Behind(RunningServer):
    """A server that its clients reach by a proxy alone."""

    proxy_port: int

    @property
    def directory_url(self) -> str:
        """Where clients begin: at the proxy."""
        return super().directory_url.replace(f":{self.port}/", f":{self.proxy_port}/")


class ProxyTestCase(ServerTestCase):
    """A server, and a proxy that a sample configures."""

    def setUp(self) -> None:
        """Find a port for the proxy."""
        self.place = self.path()
        self.place.chmod(0o755)
        self.port = free_port()

    def server(self, settings: Mapping[str, str]) -> Behind:
        """Start a server that ends with the test."""
        server = Behind(self.path(), {**_BASIC, "CERTCTL_SERVER_TLS_NAMES": INSIDE, **settings})
        server.proxy_port = self.port
        self.addCleanup(server.end)
        return server.start()

    def sample(self, name: str, server: RunningServer) -> str:
        """A sample with this machine's addresses and files in the place of those that it shows."""
        text = (SAMPLES / name).read_text(encoding="utf-8")
        both = (CERTS / "server.crt").read_text() + (CERTS / "server.key").read_text()
        (self.place / "both.pem").write_text(both)
        shutil.copy(server.root, self.place / "certctl-root.pem")
        for shown, own in {
            "10.0.0.11:8443": f"{HOST}:{server.port}",
            "listen 443": f"listen {HOST}:{self.port}",
            "bind :443": f"bind {HOST}:{self.port}",
            "/etc/nginx/acme.corp.example.crt": str(CERTS / "server.crt"),
            "/etc/nginx/acme.corp.example.key": str(CERTS / "server.key"),
            "/etc/haproxy/acme.corp.example.pem": str(self.place / "both.pem"),
            "/etc/nginx/certctl-root.pem": str(self.place / "certctl-root.pem"),
            "/etc/haproxy/certctl-root.pem": str(self.place / "certctl-root.pem"),
        }.items():
            text = text.replace(shown, own)
        # One server is enough here.
        return "".join(line for line in text.splitlines(keepends=True) if "10.0.0.12" not in line)

    def nginx(self, *, stream: str = "", http: str = "") -> None:
        """Run nginx."""
        module = NGINX_MODULES / "ngx_stream_module.so"
        if not shutil.which("nginx", path="/usr/sbin:/usr/bin") or (stream and not module.exists()):
            raise SkipTest("nginx is not installed (Debian: nginx-light libnginx-mod-stream)")
        user = pwd.getpwuid(os.getuid()).pw_name
        modules = f"load_module {module};" if stream else ""
        text = NGINX.format(modules=modules, place=self.place, stream=stream, http=http, user=user)
        (self.place / "nginx.conf").write_text(text)
        self.proxy(
            "/usr/sbin/nginx", "-e", "stderr", "-p", str(self.place), "-c", str(self.place / "nginx.conf")
        )

    def haproxy(self, text: str) -> None:
        """Run HAProxy."""
        if not Path("/usr/sbin/haproxy").exists():
            raise SkipTest("HAProxy is not installed (Debian: haproxy)")
        (self.place / "haproxy.cfg").write_text(text)
        self.proxy("/usr/sbin/haproxy", "-db", "-f", str(self.place / "haproxy.cfg"))

    def proxy(self, *command: str) -> None:
        """Run a proxy until the test ends."""
        with (self.place / "proxy.log").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self.addCleanup(process.wait, 20)
        self.addCleanup(process.terminate)

    def passed(self, server: Behind) -> Lego:
        """A client gets a certificate through the proxy, by the URLs that it was handed."""
        deadline = time.monotonic() + 20
        while not self.answers(server):
            self.assertLess(time.monotonic(), deadline, (self.place / "proxy.log").read_text())
            time.sleep(0.1)
        client = Lego(server, self.path())
        issued = client.issue(["one.internal"], P256)
        client.revoke(client.renew(issued))
        return client

    def answers(self, server: Behind) -> bool:
        """Whether the proxy lets requests through."""
        direct, server.port = server.port, self.port
        try:
            with closing(server.connect()) as connection:
                connection.request("GET", "/ready")
                return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            server.port = direct


_BASIC = {
    "CERTCTL_ACME_SERVER_ENABLED": "true",
    "CERTCTL_ACME_SERVER_DEFAULT_PROFILE_ID": "prof-default",
    "CERTCTL_LOG_FORMAT": "text",
}


class PassthroughTests(ProxyTestCase):
    """TLS ends at certctl, whose certificate clients see."""

    def test_nginx(self) -> None:
        server = self.server({})
        self.nginx(stream=self.sample("nginx-passthrough.conf", server))
        self.passed(server)

    def test_haproxy(self) -> None:
        server = self.server({})
        self.haproxy(self.sample("haproxy-passthrough.cfg", server))
        self.passed(server)


class ReencryptTests(ProxyTestCase):
    """TLS ends at the proxy, which clients see, and begins anew: the URLs are those of the proxy."""

    def reencrypted(self) -> Behind:
        """A server that is told how clients see it."""
        url = f"https://{HOST}:{self.port}"
        server = self.server(
            {"CERTCTL_SERVER_EXTERNAL_URL": url, "CERTCTL_SERVER_TRUSTED_PROXIES": f"{HOST}/32"}
        )
        return server

    def through(self, server: Behind) -> None:
        """A client that trusts the proxy's root gets a certificate."""
        server.trust = CERTS / "ca.crt"
        self.addCleanup(setattr, server, "trust", server.root)
        self.passed(server)

    def test_nginx(self) -> None:
        server = self.reencrypted()
        self.nginx(http=self.sample("nginx-reencrypt.conf", server))
        self.through(server)

    def test_haproxy(self) -> None:
        server = self.reencrypted()
        self.haproxy(self.sample("haproxy-reencrypt.cfg", server))
        self.through(server)

    def test_impostor(self) -> None:
        """A server whose certificate is not for the name is not spoken to."""
        server = self.reencrypted()
        self.nginx(http=self.sample("nginx-reencrypt.conf", server).replace(INSIDE, "another.corp.example"))
        server.trust = CERTS / "ca.crt"
        self.addCleanup(setattr, server, "trust", server.root)
        deadline = time.monotonic() + 20
        while "does not match" not in (said := (self.place / "proxy.log").read_text()):
            self.assertFalse(self.answers(server))
            self.assertLess(time.monotonic(), deadline, said)
            time.sleep(0.1)

"""A nonce is good for one request, whoever else asks at the same moment (RFC 8555 section 6.5)."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Barrier
from urllib.parse import urlsplit

from tests.integration.acme import JOSE, Session
from tests.integration.server import ServerTestCase
from tests.unit.web.wire import Response

RACERS = 200


class NonceTests(ServerTestCase):
    def test_race(self) -> None:
        """Of two hundred requests over one nonce, on as many open connections, exactly one is accepted."""
        server = self.serve()
        session = Session(server)
        session.register()
        nonce, url = session.fresh_nonce(), session.url("new-order")
        session.close()
        start = Barrier(RACERS)

        def race(number: int) -> Response:
            name = {"type": "dns", "value": f"racer-{number}.example.internal"}
            body = session.signer.sign(url, {"identifiers": [name]}, nonce, session.kid)
            with closing(server.connect(timeout=60)) as connection:
                connection.connect()
                start.wait(60)
                connection.request("POST", urlsplit(url).path, body, JOSE)
                received = connection.getresponse()
                return Response(received.status, received.getheaders(), received.read())

        with ThreadPoolExecutor(RACERS) as racers:
            answers = list(racers.map(race, range(RACERS)))
        self.assertEqual(Counter(each.error or each.status for each in answers), {201: 1, "badNonce": 199})
        self.assertEqual(len({each.nonce for each in answers}), RACERS)
        self.assertEqual(server.rows("SELECT count(*) FROM acme_orders"), [(1,)])

    def test_restart(self) -> None:
        """Over a stop and a kill, a spent nonce stays spent, and one that is fresh stays good."""
        server = self.serve()
        session = Session(server)
        session.register()
        for end in (server.stop, server.kill):
            spent, fresh = session.spent[-1], session.fresh_nonce()
            session.close()
            end()
            server.start()
            refused = session.send("new-order", {"identifiers": []}, nonce=spent)
            self.assertEqual((refused.status, refused.error), (400, "badNonce"))
            self.assertIn("used before", refused.json["detail"])
            found = session.send(session.kid or "", None, nonce=fresh)
            self.assertEqual(found.status, 200)
        session.close()

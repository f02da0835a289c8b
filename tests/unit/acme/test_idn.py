"""Names that are not what they look like."""

from __future__ import annotations

import idna
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.identifiers import IdentifierError, dns_name


def a_labels(name: str) -> str:
    """Return a name as it stands in the DNS."""
    return ".".join(each if each.isascii() else idna.encode(each).decode("ascii") for each in name.split("."))


class DisguiseTests(SynchronousTestCase):
    def test_languages(self) -> None:
        """Names of one script, and such as are written together, are names."""
        for name in (
            "bücher.example",
            "straße.example",
            "почта.example",
            "παράδειγμα.example",
            "日本ab.example",
            "ラーメン.example",
            "々木.example",
            "한국.example",
            "עברית.example",
            "мои-3-сайта.example",
            "оса.рф",
        ):
            self.assertEqual(dns_name(a_labels(name).upper()).value, a_labels(name))

    def test_refused(self) -> None:
        """Mixed scripts, look-alikes and directions that deceive are refused in words."""
        for name, words in (
            ("раypal.example", "mixes letters of several scripts"),
            ("tеst.example", "mixes letters of several scripts"),
            ("αpple.example", "mixes letters of several scripts"),
            ("ʼa.example", "mixes letters of several scripts"),
            ("аррӏе.example", "look like Latin ones"),
            ("оса.example", "look like Latin ones"),
            ("עברית.1a.example", "run in both directions"),
        ):
            error = self.assertRaises(IdentifierError, dns_name, a_labels(name))
            self.assertIn(words, str(error), name)

    def test_no_a_label(self) -> None:
        """What is no valid Punycode, or not its one form, is no A-label."""
        for name in (
            "xn--a.example",
            "xn--zzzzzzzz9999.example",
            "ab--c.example",
            "xn--abc-.example",
            "xn--0.example",
        ):
            self.assertRaises(IdentifierError, dns_name, name)

    @given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))
    def test_only_ascii_passes(self, text: str) -> None:
        """Whatever passes is ASCII, in lower case, and passes as itself: normalising twice changes nothing."""
        try:
            found = dns_name(text)
        except IdentifierError:
            return
        self.assertTrue(found.value.isascii() and found.value == found.value.lower())
        self.assertEqual(dns_name(found.value), found)
        self.assertTrue(text.isascii(), "no letter is folded into ASCII")

    @given(st.text(st.characters(codec="ascii", categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=20))
    def test_any_punycode(self, text: str) -> None:
        """An A-label that passes decodes to a label that encodes to it."""
        try:
            found = dns_name(f"xn--{text}.example").value.partition(".")[0]
        except IdentifierError:
            return
        self.assertEqual(idna.alabel(idna.ulabel(found)).decode("ascii"), found)

"""Tests for certctl.acme.encoding."""

from __future__ import annotations

import base64
import contextlib
import json
import string

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.acme.encoding import MAX_DEPTH, base64url, from_base64url, json_object

URL_ALPHABET = string.ascii_letters + string.digits + "-_"


class Base64urlTests(SynchronousTestCase):
    """RFC 7515 section 2, with RFC 4648 section 3.5."""

    def test_example(self) -> None:
        """The octets of RFC 7515 appendix C are spelled as it spells them."""
        self.assertEqual(base64url(bytes([3, 236, 255, 224, 193])), "A-z_4ME")
        self.assertEqual(from_base64url("A-z_4ME"), bytes([3, 236, 255, 224, 193]))

    @given(st.binary(max_size=100))
    def test_round_trip(self, data: bytes) -> None:
        """What was encoded decodes to itself, and looks as the standard library has it, less padding."""
        self.assertEqual(base64url(data), base64.urlsafe_b64encode(data).decode().rstrip("="))
        self.assertEqual(from_base64url(base64url(data)), data)

    @given(st.text(URL_ALPHABET + "+/=\n \0\N{KELVIN SIGN}", max_size=12))
    def test_one_spelling(self, text: str) -> None:
        """Text that decodes is the one encoding of what it decodes to."""
        try:
            data = from_base64url(text)
        except ValueError:
            return
        self.assertEqual(base64url(data), text)

    def test_refused(self) -> None:
        """Padding, other alphabets, white space, loose bits and impossible lengths are refused."""
        for text in (
            "AA==",
            "AAA=",
            "A",
            "AAAAA",
            "AB",
            "AAB",
            "+/+/",
            "AA AA",
            "AAAA\n",
            "AAA!",
            "\xe9AAA",
            "AA.A",
        ):
            with self.subTest(text):
                self.assertRaises(ValueError, from_base64url, text)


class JsonObjectTests(SynchronousTestCase):
    """RFC 8259, narrowed to what can be read in one way only."""

    def refused(self, data: bytes, words: str) -> None:
        """Show that ``data`` is refused in these words."""
        with self.assertRaises(ValueError) as caught:
            json_object(data)
        self.assertIn(words, str(caught.exception))

    def test_values(self) -> None:
        """Every kind of JSON value is read as Python's."""
        text = rb' {"a": [1, -2.5, 1e3, true, false, null, "\u00e9\ud83d\ude00"], "b": {}, "": "\\u0000"} '
        expected = {"a": [1, -2.5, 1000.0, True, False, None, "é\U0001f600"], "b": {}, "": "\\u0000"}
        self.assertEqual(json_object(text), expected)

    def test_not_an_object(self) -> None:
        """A JSON text that is no object is refused."""
        for data in (b"[]", b"1", b'"a"', b"null", b"true"):
            self.refused(data, "not a JSON object")

    def test_not_json(self) -> None:
        """What is not exactly one JSON text is refused."""
        for data in (b"", b"{", b"{}{}", b"{'a':1}", b'{"a":1,}', b"\xef\xbb\xbf{}", b'{"a":"\n"}'):
            self.refused(data, "not JSON")

    def test_not_utf8(self) -> None:
        """Other encodings than UTF-8, overlong forms and encoded surrogates among them, are refused."""
        for data in (b'{"\xe9":1}', '{"a":1}'.encode("utf-16"), b'{"\xc0\x80":1}', b'{"\xed\xa0\x80":1}'):
            self.refused(data, "not in UTF-8")

    def test_member_twice(self) -> None:
        """A member that stands twice is refused at any level, in whatever spelling."""
        for data in (b'{"a":1,"a":1}', b'{"b":[{"a":1,"a":2}]}', rb'{"a":1,"\u0061":2}'):
            self.refused(data, "twice")

    def test_constants(self) -> None:
        """NaN and the infinities are refused."""
        for constant in (b"NaN", b"Infinity", b"-Infinity"):
            self.refused(b'{"a":%s}' % constant, "is not JSON")

    def test_numbers(self) -> None:
        """Numbers have 32 characters at most and are finite."""
        self.assertEqual(json_object(b'{"a":%s}' % (b"9" * 32))["a"], 10**32 - 1)
        self.refused(b'{"a":%s}' % (b"9" * 33), "too long")
        self.refused(b'{"a":%s}' % (b"9" * 10_000), "too long")
        self.assertEqual(json_object(b'{"a":0.%s}' % (b"0" * 30))["a"], 0.0)
        self.refused(b'{"a":0.%s}' % (b"0" * 31), "too long")
        self.refused(b'{"a":1e999}', "too large")

    def test_depth(self) -> None:
        """Sixteen levels are read, seventeen not, of objects and of arrays; many values side by side are."""
        for opened, closed in ((b'{"a":', b"}"), (b'{"a":[', b"]}")):
            levels = MAX_DEPTH // (opened.count(b"[") + 1)
            json_object(opened * levels + b"1" + closed * levels)
            self.refused(opened * (levels + 1) + b"1" + closed * (levels + 1), "more than 16 levels")
        self.refused(b'{"a":' * 2000 + b"1" + b"}" * 2000, "more than 16 levels")
        self.assertEqual(len(json_object(b'{"a":[%s[]]}' % (b"[]," * 1000))["a"]), 1001)

    def test_breadth(self) -> None:
        """More than 2048 objects and arrays are not looked at."""
        self.assertEqual(len(json_object(b'{"a":[%s[]]}' % (b"[]," * 2045))["a"]), 2046)
        self.refused(b'{"a":[%s{}]}' % (b"[]," * 2046), "more than 2048 objects and arrays")

    def test_strings_that_cannot_be_stored(self) -> None:
        """U+0000 and lone surrogates are refused, as names and as values; a pair of surrogates is read."""
        for text in (rb"\u0000", rb"a\ud800", rb"\udfffb", rb"\ude00\ud83d"):
            self.refused(b'{"a":["%s"]}' % text, "a string holds")
            self.refused(b'{"a":{"%s":1}}' % text, "a string holds")
        self.assertEqual(json_object(rb'{"a":"\ud83d\ude00\u0001"}'), {"a": "\U0001f600\x01"})

    @given(st.binary(max_size=200))
    def test_nothing_but_value_errors(self, data: bytes) -> None:
        """Whatever the octets, an object or a ValueError comes out."""
        with contextlib.suppress(ValueError):
            self.assertIsInstance(json_object(data), dict)

    @given(
        st.dictionaries(
            st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats(-1e9, 1e9),
                lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii")), inner),
                max_leaves=10,
            ),
        )
    )
    def test_round_trip(self, value: dict[str, object]) -> None:
        """What the standard library writes is read back, escaped or not, unless it has a U+0000."""
        for ascii_only in (True, False):
            text = json.dumps(value, ensure_ascii=ascii_only)
            if "\\u0000" not in text:
                self.assertEqual(json_object(text.encode()), value)

from __future__ import annotations

import os
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from certctl.settings_sources import default_state_dir, parse_environment_file

# What systemd 252 makes of the same lines.
ENVIRONMENT_FILES: tuple[tuple[str, dict[str, str]], ...] = (
    ("A=1\nB=2", {"A": "1", "B": "2"}),
    ("# A=1\n; B=2\n\n  \n C = 3 \n", {"C": "3"}),
    ("A=\nB=", {"A": "", "B": ""}),
    ("A=x y  z\t\n", {"A": "x y  z"}),
    ("A='x \\ # \"y\" '\n", {"A": 'x \\ # "y" '}),
    ('A="x \\"y\\" \\$z \\\\ \\n"', {"A": 'x "y" $z \\ \\n'}),
    ("A=one \\\n  two\nB=3", {"A": "one   two", "B": "3"}),
    ('A="one \\\ntwo"\n', {"A": "one two"}),
    ("A='one\ntwo'\n", {"A": "one\ntwo"}),
    ("A='x''y'z\n", {"A": "xyz"}),
    ("A=it's\n", {"A": "it's"}),
    ("A=5m # not a comment\n", {"A": "5m # not a comment"}),
    ("A=x\\ty\\\\\n", {"A": "xty\\"}),
    ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
    ("A=1\nA=2\n", {"A": "2"}),
    ("A=$B=C\n", {"A": "$B=C"}),
    ("", {}),
    ("# only a comment", {}),
)


class EnvironmentFileTests(SynchronousTestCase):
    """The syntax of systemd's EnvironmentFile."""

    def test_values(self) -> None:
        for text, values in ENVIRONMENT_FILES:
            self.assertEqual((text, dict(parse_environment_file(text))), (text, values))

    def test_malformed(self) -> None:
        for text, words in (
            ("A=1\nB\n", "line 2 is neither"),
            ("export A=1\n", "line 1 is neither"),
            ("=1\n", "line 1 is neither"),
            ("A='1\nB=2\n", "opens in line 1 is never closed"),
            ('\n\nA="1', "opens in line 3 is never closed"),
        ):
            error = self.assertRaises(ValueError, dict, parse_environment_file(text))
            self.assertIn(words, str(error))

    @given(st.text(alphabet="AB=\\'\"# \n;x"))
    def test_anything(self, text: str) -> None:
        """Whatever is in the file, it is understood or refused, and nothing else happens."""
        try:
            values = dict(parse_environment_file(text))
        except ValueError:
            return
        for name in values:
            self.assertTrue(name.isidentifier())

    @given(st.text(st.characters(exclude_characters="'\r\x00", exclude_categories=["Cs"])))
    def test_single_quotes_are_literal(self, value: str) -> None:
        self.assertEqual(dict(parse_environment_file(f"A='{value}'\nB=1")), {"A": value, "B": "1"})


class DefaultStateDirTests(SynchronousTestCase):
    """The platform's place for data."""

    def test_root(self) -> None:
        self.patch(os, "geteuid", lambda: 0)
        self.assertEqual(default_state_dir({"HOME": "/root"}), Path("/var/lib/certctl"))

    def test_user(self) -> None:
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(sys, "platform", "linux")
        self.assertEqual(default_state_dir({"HOME": "/home/u"}), Path("/home/u/.local/share/certctl"))
        self.assertEqual(default_state_dir({"HOME": "/home/u", "XDG_DATA_HOME": "/d"}), Path("/d/certctl"))

    def test_mac(self) -> None:
        self.patch(os, "geteuid", lambda: 501)
        self.patch(sys, "platform", "darwin")
        expected = Path("/Users/u/Library/Application Support/certctl")
        self.assertEqual(default_state_dir({"HOME": "/Users/u"}), expected)

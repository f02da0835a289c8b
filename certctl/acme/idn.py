"""Internationalised labels: valid A-labels whose letters cannot pass for others (RFC 5891, RFC 5893, UTS 39)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import idna

# Scripts that are written together (UTS 39 section 5.2, "highly restrictive"); any other mixture is a disguise.
_TOGETHER = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
# Letters that look like Latin ones: a label of these alone passes for an ASCII name.
_LOOKS_LATIN = frozenset(
    "\u0430\u0441\u0501\u0435\u04bb\u0456\u0458\u04cf\u043e\u0440\u051b\u0455\u051d\u0445"
    "\u0443\u044a\u044c\u0461\u043f\u0433\u0475\u0450\u0451\u0457\u04d3\u04e7"  # Cyrillic
    "\u03b1\u03b5\u03b9\u03ba\u03bd\u03bf\u03c1\u03c5\u03c9\u03f2\u03f3"  # Greek
)
_COMMON = frozenset({"DIGIT", "HYPHEN-MINUS", "COMBINING", "MIDDLE"})  # of every script
_WORDS = {"IDEOGRAPHIC": "CJK", "KATAKANA-HIRAGANA": "KATAKANA"}
_RIGHT_TO_LEFT = frozenset({"R", "AL", "AN"})


class IdnError(ValueError):
    """What is wrong with an internationalised label, worded for the client."""


def check_name(labels: Sequence[str]) -> None:
    """Check a name by its labels as they stand in the DNS; raise IdnError for one that is not what it looks like."""
    letters = [_u_label(each) if each[2:4] == "--" else each for each in labels]
    for each in letters:
        _check_letters(each, below_ascii=letters[-1].isascii())
    _check_direction(letters)


def _u_label(a_label: str) -> str:
    """The letters of an A-label, which alone has -- in third and fourth place (RFC 5890 section 2.3.1)."""
    try:
        label = idna.ulabel(a_label)
        if a_label.startswith("xn--") and idna.alabel(label).decode("ascii") == a_label:
            return label
    except (idna.IDNAError, UnicodeError):
        pass
    raise IdnError("a label with -- in third and fourth place must be a valid A-label")


def _check_letters(label: str, *, below_ascii: bool) -> None:
    foreign = {each for each in label if not each.isascii()}
    scripts = {_script(each) for each in label} - _COMMON if foreign else set()
    if len(scripts) > 1 and not any(scripts <= each for each in _TOGETHER):
        raise IdnError("a label mixes letters of several scripts, which look alike")
    if foreign and below_ascii and foreign <= _LOOKS_LATIN:
        raise IdnError("a label has no letters but such as look like Latin ones")


def _script(letter: str) -> str:
    """The script of a letter: the first word of its name, as the standard library has no better."""
    word = unicodedata.name(letter, "UNKNOWN").partition(" ")[0]
    return _WORDS.get(word, word)


def _check_direction(labels: Sequence[str]) -> None:
    """Refuse names whose labels would be shown in another order than they are written (RFC 5893 section 2)."""
    if not any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for each in labels for letter in each):
        return
    for each in labels:
        try:
            idna.check_bidi(each, check_ltr=True)
        except idna.IDNABidiError:
            raise IdnError("its labels run in both directions, and not as RFC 5893 allows") from None

"""Split the text form of a graph into tokens that know where they are."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

from neurochip.errors import GraphError

Item = TypeVar("Item")

BARE_VALUE = r"[A-Za-z0-9_][A-Za-z0-9_./\-]*"
"""Names of values that need no quotes behind their %."""

BARE_WORD = r"(?!(?:inf|nan)\b)[A-Za-z_][A-Za-z0-9_]*"
"""Other names that need no quotes."""

_STRING = r'"(?:[^"\\\n]|\\.)*"'
_TOKEN = re.compile(
    rf"(?P<skip>\s+|//[^\n]*)|(?P<string>{_STRING})|(?P<value>%(?:{_STRING}|{BARE_VALUE}))"
    rf"|(?P<hash>#[0-9a-f]{{12}})|(?P<number>-?(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|inf\b|nan\b))"
    rf"|(?P<word>{BARE_WORD})|(?P<mark>\.\.|[{{}}()\[\],:=])"
)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text: its kind (a group of the pattern above, or ``end``) and its offset."""

    kind: str
    text: str
    start: int


class TokenReader:
    """Hands out the tokens of one text and reports errors by line and column."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = self._split()
        self._next = 0

    def _split(self) -> list[Token]:
        tokens, at = [], 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                self.fail(at, f"unexpected character {self.text[at]!r}")
            if match.lastgroup != "skip":
                tokens.append(Token(str(match.lastgroup), match.group(), at))
            at = match.end()
        return [*tokens, Token("end", "end of text", at)]

    def fail(self, at: int, message: str) -> NoReturn:
        """Raise GraphError for offset ``at``."""
        line = self.text.count("\n", 0, at) + 1
        column = at - self.text.rfind("\n", 0, at)
        raise GraphError(f"line {line}, column {column}: {message}")

    @property
    def token(self) -> Token:
        """The token to be read next."""
        return self._tokens[self._next]

    def take(self, kind: str, what: str) -> Token:
        """Read a token of ``kind``."""
        token = self.token
        if token.kind != kind:
            self.fail(token.start, f"expected {what}, got {token.text!r}")
        self._next += 1
        return token

    def skip(self) -> Token:
        """Read any token but the end."""
        token = self.token
        if token.kind == "end":
            self.fail(token.start, "unexpected end of text")
        self._next += 1
        return token

    def accept(self, text: str) -> bool:
        """Read ``text`` if it is next."""
        found = self.token.text == text and self.token.kind in ("mark", "word")
        self._next += found
        return found

    def expect(self, text: str) -> None:
        """Read ``text``."""
        if not self.accept(text):
            self.fail(self.token.start, f"expected '{text}', got {self.token.text!r}")

    def listed(self, close: str, item: Callable[[], Item]) -> list[Item]:
        """Comma-separated items up to ``close``, whose opening mark has been read."""
        found: list[Item] = []
        while not self.accept(close):
            if found:
                self.expect(",")
            found.append(item())
        return found

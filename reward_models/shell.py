"""Splits a shell command line into its simple commands, in one pass, without running or expanding anything.

It never raises: text that no shell would take is split as far as it goes. Quotes, escapes, here-documents,
redirections, pipes and lists are understood; substitutions stay in their words as they are.
"""

from typing import NamedTuple

MAX_CHARACTERS = 1 << 16
"""Longer commands are read up to here."""

_OPERATORS = ("&&", "||", "|&", ";;", "|", ";", "&", "(", ")", "\n")
_REDIRECTS = ("<<<", "<<-", "<<", "&>>", "&>", ">>", ">|", ">&", "<&", "<>", ">", "<")
_KEYWORDS = frozenset(
    [
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "for",
        "while",
        "until",
        "do",
        "done",
        "case",
        "esac",
        "in",
        "{",
        "}",
        "!",
        "time",
        "function",
        "select",
    ]
)


class Simple(NamedTuple):
    """One simple command."""

    words: tuple[str, ...]
    writes: tuple[str, ...] = ()
    """Targets of `>`."""
    appends: tuple[str, ...] = ()
    """Targets of `>>`."""
    takes: tuple[str, ...] = ()
    """Sources of `<`."""
    text: str = ""
    """What here-documents and here-strings feed to it."""
    before: str = ""
    """The operator in front: `&&`, `||`, `|`, `;` (also a new line), or nothing."""
    after: str = ""
    """The operator behind it."""


def split(command: str) -> list[Simple]:
    """The simple commands of a command line, in order."""
    return _Splitter(command[:MAX_CHARACTERS]).run()


class _Splitter:
    """One pass over the text; every method moves `at` forward."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.out: list[Simple] = []
        self.operator = ""
        self._fresh()

    def _fresh(self) -> None:
        self.words: list[str] = []
        self.word: list[str] | None = None
        self.redirect = ""
        self.targets: dict[str, list[str]] = {"writes": [], "appends": [], "takes": []}
        self.fed: list[str] = []
        self.waiting: list[str] = []

    def run(self) -> list[Simple]:
        while self.at < len(self.text):
            character = self.text[self.at]
            if character in " \t\r":
                self._end_word()
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at += 2
            elif character == "#" and self.word is None:
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif not (self._redirection() or self._operation()):
                self._piece(character)
        self._end_command("")
        return self.out

    def _piece(self, character: str) -> None:
        """A piece of a word: quoted, escaped, substituted or plain."""
        word = self.word = [] if self.word is None else self.word
        if character == "'":
            end = self.text.find("'", self.at + 1)
            end = len(self.text) if end < 0 else end
            word.append(self.text[self.at + 1 : end])
            self.at = end + 1
        elif character == '"':
            self._double_quoted(word)
        elif character == "\\":
            word.append(self.text[self.at + 1 : self.at + 2])
            self.at += 2
        elif self.text.startswith("$(", self.at):
            start = self.at
            self.at = _closing(self.text, self.at + 2)
            word.append(self.text[start : self.at])
        else:
            word.append(character)
            self.at += 1

    def _double_quoted(self, word: list[str]) -> None:
        self.at += 1
        while self.at < len(self.text) and self.text[self.at] != '"':
            if self.text[self.at] == "\\" and self.text[self.at + 1 : self.at + 2] in ("\\", '"', "$", "`", "\n"):
                self.at += 1
                if self.text[self.at] == "\n":
                    self.at += 1
                    continue
            word.append(self.text[self.at])
            self.at += 1
        self.at += 1

    def _redirection(self) -> bool:
        found = next((r for r in _REDIRECTS if self.text.startswith(r, self.at)), "")
        if not found or self.text.startswith("<(", self.at):
            return False
        if self.word is not None and "".join(self.word).isdigit():
            # `2>file` is not what the command says, but what it complains about
            found = found if "".join(self.word) in ("0", "1") else "complaints"
            self.at += len(next(r for r in _REDIRECTS if self.text.startswith(r, self.at)))
            self.word = None
        else:
            self._end_word()
            self.at += len(found)
        self.redirect = found
        return True

    def _operation(self) -> bool:
        found = next((o for o in _OPERATORS if self.text.startswith(o, self.at)), "")
        if not found:
            return False
        self.at += len(found)
        self._end_word()
        if found == "\n":
            self._here_documents()
        self._end_command({"\n": ";", "|&": "|", "(": ";", ")": ";", "&": ";", ";;": ";"}.get(found, found))
        return True

    def _here_documents(self) -> None:
        for mark in self.waiting:
            lines: list[str] = []
            while self.at < len(self.text):
                end = self.text.find("\n", self.at)
                end = len(self.text) if end < 0 else end
                line = self.text[self.at : end]
                self.at = end + 1
                if line.strip() == mark:
                    break
                lines.append(line)
            self.fed.append("\n".join(lines))
        self.waiting = []

    def _end_word(self) -> None:
        if self.word is None:
            return
        word, self.word = "".join(self.word), None
        redirect, self.redirect = self.redirect, ""
        if redirect in ("<<", "<<-"):
            self.waiting.append(word.strip())
        elif redirect == "<<<":
            self.fed.append(word)
        elif redirect in (">", ">|", "&>", "<>"):
            self.targets["writes"].append(word)
        elif redirect in (">>", "&>>"):
            self.targets["appends"].append(word)
        elif redirect == "<":
            self.targets["takes"].append(word)
        elif not redirect and not (word in _KEYWORDS and not self.words):
            self.words.append(word)

    def _end_command(self, operator: str) -> None:
        self._end_word()
        if self.words or any(self.targets.values()):
            if self.waiting:
                # the here-document of an earlier part of the line starts after the line
                self._read_ahead()
            self.out.append(
                Simple(
                    words=tuple(self.words),
                    writes=tuple(self.targets["writes"]),
                    appends=tuple(self.targets["appends"]),
                    takes=tuple(self.targets["takes"]),
                    text="\n".join(self.fed),
                    before=self.operator,
                    after=operator,
                )
            )
            self.operator = operator
        elif operator and self.out and operator != ";":
            self.operator = operator
        self._fresh()

    def _read_ahead(self) -> None:
        """Take the here-documents that follow this line out of the text, for a command that ends before it."""
        end = self.text.find("\n", self.at)
        if end < 0:
            return
        rest = self.text[self.at : end]
        self.at = end + 1
        self._here_documents()
        self.text = rest + "\n" + self.text[self.at :]
        self.at = 0


def _closing(text: str, at: int) -> int:
    """The position after the `)` that closes a substitution whose inside starts at `at`."""
    depth = 1
    while at < len(text):
        character = text[at]
        if character == "\\":
            at += 1
        elif character == "'":
            end = text.find("'", at + 1)
            at = len(text) if end < 0 else end
        elif character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return len(text)

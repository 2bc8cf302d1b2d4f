"""Shell as the docs write it, in simple commands: words, without assignments, redirections and comments."""

import re
import shlex
from collections.abc import Iterator

_BETWEEN = {"|", "||", "&&", ";", "(", ")", "&", "<(", ">("}
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_INSIDE = re.compile(r"\$\(([^()]*)\)")
_KEYWORDS = {"if", "then", "else", "fi", "do", "done", "!"}


def simple_commands(text: str) -> Iterator[list[str]]:
    for line in _logical_lines(text):
        yield from _of_line(line)


def _logical_lines(text: str) -> list[str]:
    return text.replace("\\\n", " ").splitlines()


def _of_line(line: str) -> Iterator[list[str]]:
    for inside in _INSIDE.findall(line):
        yield from _of_line(inside)
    reader = shlex.shlex(_INSIDE.sub("OUTPUT", line), posix=True, punctuation_chars="();<>|&")
    reader.whitespace_split = True
    reader.commenters = ""
    words: list[str] = []
    for word in reader:
        if word.startswith("#"):
            break
        if word in _BETWEEN or set(word) <= set("();|&"):
            yield from _command(words)
            words = []
        else:
            words.append(word)
    yield from _command(words)


def _command(words: list[str]) -> Iterator[list[str]]:
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        if set(word) <= set("<>&"):
            next(rest, None)
        elif not kept and (_ASSIGNMENT.fullmatch(word) or word in _KEYWORDS):
            continue
        else:
            kept.append(word)
    if kept:
        yield kept

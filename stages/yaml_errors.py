"""What the YAML parser says, in sentences that name the remedy: most often, what to put in quotes."""

import re
from typing import TYPE_CHECKING

from stages.problems import Problem

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError

_LAST_VALUE = re.compile(r""".*(?<![\w.-])([\w.-]+):[ ]+([^\s"'\[{].*)$""")
_HINT_WIDTH = 400  # characters before an error that are searched for what was meant


def syntax_problem(error: "MarkedYAMLError", text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    lines = text.splitlines()
    before = lines[line - 1][: column - 1] if line <= len(lines) else ""
    whole = lines[line - 1] if line <= len(lines) else ""
    return Problem(file, line, column, "", _syntax_sentence(error, before, whole))


def _syntax_sentence(error: "MarkedYAMLError", before: str, whole: str) -> str:
    context, said = str(error.context or ""), str(error.problem or "this is not YAML")
    if "'\\t'" in said:
        return "a tab; YAML is indented with spaces"
    if "unexpected end of stream" in said and "quoted scalar" in context:
        return f"the quote that was opened on line {_line(error)} is not closed"
    if "flow" in context and not said.endswith("end>')") and "stream end" not in said:
        return _flow_sentence(error, before, whole)
    if "flow" in context:
        bracket = "{" if "mapping" in context else "["
        return f"the '{bracket}' on line {_line(error)} is not closed"
    if "mapping values are not allowed" in said:
        return _colon_sentence(before, whole)
    if "cannot start any token" in said:
        found = said.split("found character ", 1)[-1].split(" that", 1)[0]
        return f"a text that begins with {found} must be put in quotes"
    if "block collection" in context or "block mapping" in context:
        return f"the indentation does not fit what began on line {_line(error)}"
    return f"this is not YAML: {said}" + (f" ({context})" if context else "")


def _line(error: "MarkedYAMLError") -> int:
    return error.context_mark.line + 1 if error.context_mark is not None else 1


def _flow_sentence(error: "MarkedYAMLError", before: str, whole: str) -> str:
    brackets = "{...}" if "mapping" in str(error.context) else "[...]"
    start = f"inside {brackets} (begun on line {_line(error)}) a text with any of {{ }} [ ] , : # must be put in quotes"
    found = _LAST_VALUE.match(before[-_HINT_WIDTH:])
    if found is None:
        return start
    rest = whole[len(before) - len(found.group(2)) :]
    value = _unquoted_value(rest)
    quote = "'" if '"' in value else '"'
    return f"{start}: write {found.group(1)}: {quote}{value}{quote}"


def _unquoted_value(rest: str) -> str:
    """The text that was most likely meant as one value: up to the comma or bracket that closes what holds it."""
    depth = 0
    for index, character in enumerate(rest[:_HINT_WIDTH]):
        if character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        if depth < 0 or (depth == 0 and character == ","):
            return rest[:index].rstrip()
    return rest[:_HINT_WIDTH].rstrip()


def _colon_sentence(before: str, whole: str) -> str:
    found = _LAST_VALUE.match(before[-_HINT_WIDTH:])
    if found is None:
        return "a ':' is not expected here; is the indentation right?"
    value = whole[len(before) - len(found.group(2)) :].strip()
    quote = "'" if '"' in value else '"'
    return f"a text with ': ' in it must be put in quotes: write {found.group(1)}: {quote}{value}{quote}"

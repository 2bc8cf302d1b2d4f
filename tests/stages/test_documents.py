import time

import pytest

from stages.documents import MAX_BYTES, Document, read_document
from stages.problems import InvalidPlan, Mark


def read(text: str) -> Document:
    return read_document(text, "p.yaml")


def refused(text: str) -> str:
    with pytest.raises(InvalidPlan) as caught:
        read(text)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    (
        ("16:00", "16:00"),
        ("off", "off"),
        ("yes", "yes"),
        ("093", "093"),
        ("1_000", "1_000"),
        ("2026-12-20", "2026-12-20"),
        ("0b11", "0b11"),
        ("0x1f", 31),
        ("0o17", 15),
        ("12", 12),
        ("-3", -3),
        ("1.10", 1.1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ("!!str 12", "12"),
        ("! 12", "12"),
        ("!!int 12", 12),
        ("!!float 12", 12.0),
    ),
)
def test_scalars_follow_the_core_schema_but_leading_zeros_make_a_text(written: str, value: object) -> None:
    found = read(f"a: {written}").data["a"]
    assert found == value
    assert type(found) is type(value)


def test_every_value_and_key_knows_its_place() -> None:
    document = read("a:\n  - b: 1\n    c: {d: [x, y]}\n")
    assert document.mark(("a", 0, "b")) == Mark("p.yaml", 2, 8)
    assert document.mark(("a", 0, "c", "d", 1)) == Mark("p.yaml", 3, 16)
    assert document.key_mark(("a", 0, "c", "d")) == Mark("p.yaml", 3, 9)
    assert document.mark(("a",)) == Mark("p.yaml", 1, 1), "a block stands where its key is"
    assert document.mark(("a", 0, "nothing", "here")) == document.mark(("a", 0)), "else the nearest around it"


def test_aliases_and_merge_keys_are_expanded_and_own_keys_win() -> None:
    document = read("x: &x {a: 1, b: 2}\ny: &y {b: 3, c: 4}\nz: {<<: [*x, *y], a: 9}\nw: *y\n")
    assert document.data["z"] == {"a": 9, "b": 2, "c": 4}
    assert document.data["w"] == {"b": 3, "c": 4}


def test_keys_are_texts() -> None:
    assert read("{1: a, true: b, 096: c, ~: d}").data == {"1": "a", "true": "b", "096": "c", "~": "d"}


@pytest.mark.parametrize(
    ("text", "message"),
    (
        (
            "a: {query: rate(x[5m]), fail: 3}",
            (
                "p.yaml:1:18: inside {...} (begun on line 1) a text with any of { } [ ] , : # must be put in quotes: "
                'write query: "rate(x[5m])"'
            ),
        ),
        (
            'a:\n  - {q: sum by (le) (x{a="b"}), for: 1m}',
            (
                "p.yaml:2:23: inside {...} (begun on line 2) a text with any of { } [ ] , : # must be put in quotes: "
                "write q: 'sum by (le) (x{a=\"b\"})'"
            ),
        ),
        (
            "a: {url: http://x, b: ${X:-y}}",
            (
                "p.yaml:1:24: inside {...} (begun on line 1) a text with any of { } [ ] , : # must be put in quotes: "
                'write b: "${X:-y}"'
            ),
        ),
        ("a: b: c", "p.yaml:1:5: a text with ': ' in it must be put in quotes: write a: \"b: c\""),
        ("a:\n\t- b", "p.yaml:2:1: a tab; YAML is indented with spaces"),
        ("a: 'x", "p.yaml:1:6: the quote that was opened on line 1 is not closed"),
        ("a: {b: [1", "p.yaml:1:10: the '[' on line 1 is not closed"),
        ("a: `x`", "p.yaml:1:4: a text that begins with '`' must be put in quotes"),
        ("- a\nb: c", "p.yaml:2:1: the indentation does not fit what began on line 1"),
        ("a: 1\na: 2", "p.yaml:2:1: a: the key 'a' is already on line 1"),
        ("a: *b", "p.yaml:1:4: the alias *b has no anchor &b before it"),
        ("&a [*a]", "p.yaml:1:5: the alias *a stands inside what it names"),
        ("a: !secret x", "p.yaml:1:4: the tag !secret is not part of the plan language"),
        ("a: !!int x", "p.yaml:1:4: 'x' is no int"),
        ("? [a]\n: 1", "p.yaml:1:3: a key is a plain text, not a mapping or list"),
        ("{<<: 3}", "p.yaml:1:6: <<: '<<' names a mapping, or a list of mappings"),
        ("a: .nan", "p.yaml:1:4: infinity and NaN are no numbers of a plan; put the word in quotes if a text is meant"),
        ("a: 99999999999999999999", "p.yaml:1:4: the number is too large; put it in quotes if a text is meant"),
        ("a: 1e999", "p.yaml:1:4: the number is too large; put it in quotes if a text is meant"),
        ('a: "\\0"', "p.yaml:1:4: a text of a plan has no NUL and no half of a surrogate pair"),
        ('a: "\\ud800"', "p.yaml:1:4: a text of a plan has no NUL and no half of a surrogate pair"),
        ("a: b\nc: \x01", "p.yaml:2:4: the character U+0001 is not allowed in YAML; is this a text file?"),
        (
            "--- a\n--- b",
            "p.yaml:2:1: a second document begins here; a plan is exactly one (remove what follows the '---')",
        ),
        ("", "p.yaml:1:1: the file is empty; a plan is expected"),
        ("# nothing\n", "p.yaml:1:1: the file is empty; a plan is expected"),
        ("[" * 60, "p.yaml:1:49: nested more than 48 levels deep"),
        ("- " * 60, "p.yaml:1:97: nested more than 48 levels deep"),
    ),
)
def test_what_is_no_plan_in_yaml_is_told_with_its_place_and_remedy(text: str, message: str) -> None:
    assert refused(text) == message


def test_ten_megabytes_are_refused_at_once() -> None:
    begin = time.perf_counter()
    assert refused("a: b\n" * (10 * MAX_BYTES // 5)) == "p.yaml: a plan has at most 1 MiB; this text has 10.0 MiB"
    assert time.perf_counter() - begin < 1


def test_aliases_that_multiply_are_refused_before_they_cost_anything() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, 12)]
    assert refused("\n".join(lines)).endswith(
        "a plan has at most 50000 values, 48 levels deep, once its aliases are expanded"
    )


def test_merge_keys_that_multiply_are_refused_too() -> None:
    lines = ["a0: &a0 {k: 1}"] + [
        f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}" for level in range(1, 9)
    ]
    assert "at most 50000 values" in refused("\n".join(lines))


@pytest.mark.parametrize("text", ("!" * 900_000, "&" + "a" * 900_000, "k" * 900_000 + ": 1", "a: " + "x" * 900_000))
def test_a_word_of_absurd_length_is_refused_before_the_parser_sees_it(text: str) -> None:
    assert "a word of more than 8192 characters" in refused(text)


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert read("\ufeffa: 1").data == {"a": 1}

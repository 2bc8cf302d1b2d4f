"""References to secrets: found where the controller runs, within what it allows, and never shown."""

import io
from base64 import b64encode, encodebytes
from pathlib import Path

import pytest

from orchestrator.adapters.secrets import Secrets
from orchestrator.allowance import Allowance
from orchestrator.errors import Permanent
from orchestrator.redaction import MOST_SECRETS, RedactedStream, Redactor
from stages.values import SecretRef

VALUE = "s3cret/Value+1"


def secrets(allowance: Allowance | None = None, **environ: str) -> Secrets:
    return Secrets(allowance, environ=environ)


def test_plain_text_is_itself() -> None:
    assert secrets().resolve("hello") == "hello"


def test_an_environment_variable_is_looked_up_at_each_use() -> None:
    environ = {"TOKEN": "one"}
    found = Secrets(environ=environ)
    assert found.resolve(SecretRef(env="TOKEN")) == "one"
    environ["TOKEN"] = "two"
    assert found.resolve(SecretRef(env="TOKEN")) == "two"


def test_a_file_gives_its_text_without_the_last_line_end(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{VALUE}\n")
    assert secrets().resolve(SecretRef(file=str(tmp_path / "token"))) == VALUE


def test_a_relative_file_is_relative_to_the_plan(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(VALUE)
    assert secrets().resolve(SecretRef(file="token"), str(tmp_path)) == VALUE


@pytest.mark.parametrize(
    ("reference", "words"),
    (
        (SecretRef(env="ABSENT"), "the environment variable ABSENT is not set where the controller runs"),
        (SecretRef(env="EMPTY"), "the secret at env EMPTY is empty"),
        (SecretRef(file="/nowhere/token"), "the secret at file /nowhere/token can't be read: No such file"),
        (SecretRef(file="/tmp"), "is not a plain file"),
        (SecretRef(file="/dev/zero"), "is not a plain file"),
        (SecretRef(secret="db/password"), "the secret db/password is in Kubernetes, which is not asked here"),
    ),
)
def test_what_is_not_there_is_named(reference: SecretRef, words: str) -> None:
    with pytest.raises(Permanent, match=words):
        secrets(EMPTY="").resolve(reference)


@pytest.mark.parametrize("content", (b"x" * 70_000, b"\xff\xfe"))
def test_a_file_that_is_no_secret_is_refused_without_showing_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "blob").write_bytes(content)
    with pytest.raises(Permanent, match=r"the secret at file .*blob is") as caught:
        secrets().resolve(SecretRef(file=str(tmp_path / "blob")))
    assert "xxx" not in str(caught.value)


def test_only_allowed_variables_are_read() -> None:
    found = secrets(Allowance(variables=("TOKEN", "APP_*")), TOKEN="a", APP_KEY="b", HOME="c", TOKEN_2="d")
    assert found.resolve(SecretRef(env="TOKEN")) == "a"
    assert found.resolve(SecretRef(env="APP_KEY")) == "b"
    for name in ("HOME", "TOKEN_2", "ABSENT"):
        with pytest.raises(Permanent, match=f"plans may not use the environment variable {name}"):
            found.resolve(SecretRef(env=name))


def test_only_files_of_allowed_folders_are_read_wherever_links_and_dots_lead(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.write_text(VALUE)
    (inside / "token").write_text("fine")
    (inside / "link").symlink_to(outside)
    found = secrets(Allowance(folders=(inside,)))
    assert found.resolve(SecretRef(file=str(inside / "token"))) == "fine"
    for path in (outside, inside / "link", inside / ".." / "outside", Path("/etc/passwd")):
        with pytest.raises(Permanent, match="plans may not read the file"):
            found.resolve(SecretRef(file=str(path)))


def test_what_was_resolved_is_redacted_in_every_form() -> None:
    found = secrets(TOKEN=VALUE)
    found.resolve(SecretRef(env="TOKEN"))
    for text in (VALUE, "s3cret%2FValue%2B1", f'{{"token": "{VALUE}"}}'):
        assert "Value" not in found.redactor.redact(f"before {text} after")
    assert found.redactor.redact(f"before {VALUE} after") == "before *** after"


def test_plain_text_of_a_plan_is_no_secret() -> None:
    found = secrets()
    found.resolve("hello")
    assert found.redactor.redact("hello") == "hello"


def test_the_password_of_an_address_is_redacted_alone_too() -> None:
    redactor = Redactor()
    redactor.add("postgresql://app:p%40ssw0rd@db/main")
    assert redactor.redact("authentication of app with p@ssw0rd failed, or p%40ssw0rd") == (
        "authentication of app with *** failed, or ***"
    )


def test_lines_and_escapes_of_a_longer_secret_are_redacted() -> None:
    redactor = Redactor()
    redactor.add('-----BEGIN KEY-----\nMIIBOgIBAAJB\n"quoted" line\n')
    assert redactor.redact("found MIIBOgIBAAJB") == "found ***"
    assert redactor.redact('found \\"quoted\\" line') == "found ***"


def test_the_longest_secret_is_redacted_first() -> None:
    redactor = Redactor()
    for secret in ("pass", "password", "password-of-all"):
        redactor.add(secret)
    assert redactor.redact("password-of-all password pass") == "*** *** ***"


def test_what_is_shorter_than_four_characters_blots_out_nothing() -> None:
    redactor = Redactor()
    redactor.add("abc")
    redactor.add("")
    assert redactor.redact("abc abcd") == "abc abcd"


def test_base64_is_redacted_whatever_stands_before_it_and_however_long_its_lines_are() -> None:
    redactor = Redactor()
    redactor.add("s3cret/Value")
    for before in (b"", b"u", b"u:", b"user:"):
        text = redactor.redact(b64encode(before + b"s3cret/Value" + b":rest").decode())
        around = b64encode(before + b":rest").decode()
        assert "***" in text
        assert len(text.replace("***", "")) <= len(around) + 4  # a letter at each end belongs to both
    redactor.add(long := "0123456789abcdef" * 10)
    lines = encodebytes(long.encode()).decode()
    assert set(redactor.redact(lines).split()) <= {"***", "***=", "***=="}


def test_html_and_lower_case_escapes_are_redacted() -> None:
    redactor = Redactor()
    redactor.add('a"b/c<d>é')
    for text in ("a&quot;b/c&lt;d&gt;é", "a%22b%2fc%3cd%3e%c3%a9", "a%22b%2Fc%3Cd%3E%C3%A9"):
        assert redactor.redact(text) == "***"


def test_a_password_in_the_query_of_an_address_is_redacted_alone_too() -> None:
    redactor = Redactor()
    redactor.add("postgresql://db/main?user=app&password=p%2Fssw0rd")
    assert redactor.redact("no password p/ssw0rd") == "no password ***"


def test_of_passwords_that_are_changed_again_and_again_the_oldest_are_forgotten() -> None:
    redactor = Redactor()
    redactor.add("kept-in-use")
    for number in range(MOST_SECRETS):
        redactor.add(f"{number:06d}-old")
        redactor.add("kept-in-use")
    assert redactor.redact("kept-in-use 000000-old 001999-old") == "*** 000000-old ***"


def test_what_any_redactor_of_the_process_knows_is_kept_out_of_its_log() -> None:
    one, other, stream = Redactor(), Redactor(), io.StringIO()
    one.add("first-secret")
    other.add("other-secret")
    RedactedStream(stream).write("first-secret and other-secret\n")
    assert stream.getvalue() == "*** and ***\n"

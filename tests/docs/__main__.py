"""Writes docs/reference: ``python -m tests.docs``."""

from stages.reference import reference_pages
from tests.support.process import ROOT


def main() -> None:
    folder = ROOT / "docs" / "reference"
    folder.mkdir(exist_ok=True)
    for name, text in reference_pages().items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main()

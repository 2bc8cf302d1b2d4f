"""What docs/flags.md shows runs as it stands there."""

import re
from pathlib import Path

import pytest

from flags.model import FlagDocument, Version
from tests.flags.client_world import FeedServer, feed_of
from tests.support.process import ROOT

PAGE = (ROOT / "docs" / "flags.md").read_text()
SECTION = PAGE[PAGE.index("## In a Python application") : PAGE.index("## Delivery")]


def test_the_python_of_the_page_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", SECTION, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 3
    monkeypatch.chdir(tmp_path)
    with FeedServer() as server:
        server.show(feed_of(0, FlagDocument("new-api", percentage=100, parameters={"x": 1}, version=Version(1, 1))))
        names: dict[str, object] = {}
        for block in blocks:
            exec(block.replace("http://127.0.0.1:8040", server.url), names)
    assert capsys.readouterr().out.splitlines()[-1] == "True server"

"""``python -m orchestrator.crd FOLDER``: write the custom resource definitions into a folder."""

import io
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from orchestrator.crd import definitions

HEADER = "# Made from the models of the plan language by `make manifests`; don't edit.\n"


def to_yaml(content: Mapping[str, Any]) -> str:
    writer = YAML()
    writer.default_flow_style = False
    writer.width = 1 << 20
    writer.representer.ignore_aliases = lambda _: True
    written = io.StringIO()
    writer.dump(content, written)
    return HEADER + written.getvalue()


def main(folder: str) -> None:
    for name, content in definitions().items():
        (Path(folder) / name).write_text(to_yaml(content), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

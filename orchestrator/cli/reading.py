"""`list`, `status`, `watch`, `history`, `report`: looking, with or without a controller."""

import json
import sys
import time
from argparse import Namespace

from orchestrator.cli.output import note, show
from orchestrator.cli.settings import means_cluster
from orchestrator.cli.sources import HOW_TO_START, Json, Source, StoreSource, entries, open_source
from orchestrator.errors import KeptAsReport, RolloutError

FOLLOW_EVERY_SECONDS = 0.5
EXIT_CODES = {"promoted": 0, "rolled_back": 3, "stopped": 4, "rollback_failed": 5}


def exit_code(status: Json) -> int:
    """0 for a run that has not ended: what was asked for is done."""
    return EXIT_CODES.get(str(status.get("outcome")), 0)


def require_whole(status: Json) -> None:
    """For what is made of a whole journal. Raises ``KeptAsReport``."""
    if kept := status.get("kept"):
        raise KeptAsReport(str(kept["sentence"]))


def list_runs(arguments: Namespace) -> int:
    if means_cluster(arguments):
        from orchestrator.cli import cluster

        return cluster.list_runs(arguments)
    from orchestrator.cli.show import runs

    found = open_source(arguments.server).runs(True if arguments.active else None)
    if arguments.output == "table":
        _note_freezes(found)
    show(found, arguments.output, runs)
    return 0


def _note_freezes(found: list[Json]) -> None:
    from orchestrator.cli.freeze import sentences

    frozen = {one["environment"]: one for run in found for one in run.get("frozen") or ()}
    for sentence in sentences(list(frozen.values())):
        note(sentence)


def status(arguments: Namespace) -> int:
    if means_cluster(arguments):
        from orchestrator.cli import cluster

        return cluster.status(arguments)
    from orchestrator.cli import standing

    show(open_source(arguments.server).status(arguments.run), arguments.output, standing.status)
    return 0


def watch(arguments: Namespace) -> int:
    if means_cluster(arguments):
        from orchestrator.cli import cluster

        return cluster.watch(arguments)
    from orchestrator.cli import standing
    from orchestrator.cli.watching import watch_run

    source = open_source(arguments.server)
    found = source.status(arguments.run)
    if isinstance(source, StoreSource) and found["phase"] != "ended":
        print(standing.status(found))
        raise RolloutError(f"{found['run']} stands still: {HOW_TO_START}")
    return watch_run(source, str(found["run"]), server=arguments.server)


def history(arguments: Namespace) -> int:
    source = open_source(arguments.server)
    if arguments.follow:
        return _follow(source, arguments.run, arguments.output)
    if arguments.output == "table":
        from orchestrator.cli import past

        show(entries(source, arguments.run), "table", past.history)
    else:
        show(source.history(arguments.run), arguments.output, str)
    return 0


def _follow(source: Source, run: str, output: str) -> int:
    """Entry by entry until the run has ended (or, without a controller, to where it stands): as text, or as one JSON
    object or YAML document a line."""
    from orchestrator.core.telling import Teller

    found = source.status(run)
    name, after = str(found["run"]), 0
    teller = Teller(found.get("stages") or ())
    while True:
        has_ended = source.status(name)["phase"] == "ended"  # asked first, so that nothing is missed
        for entry in source.history(name, after):
            after = entry["seq"]
            _print_entry(entry, teller.tell(entry), output)
        sys.stdout.flush()
        if has_ended or isinstance(source, StoreSource):
            return 0
        time.sleep(FOLLOW_EVERY_SECONDS)


def _print_entry(entry: Json, sentence: str | None, output: str) -> None:
    if output == "json":
        print(json.dumps(entry, ensure_ascii=False))
    elif output == "yaml":
        from orchestrator.cli.output import to_yaml

        print(f"---\n{to_yaml(entry)}", end="")
    else:
        from orchestrator.cli import past

        print(*past.rows([{**entry, "sentence": sentence}]), sep="\n")


def report(arguments: Namespace) -> int:
    from orchestrator.core.report import build, to_html, to_markdown

    source = open_source(arguments.server)
    found = source.status(arguments.run)
    past = source.history(str(found["run"]))
    made = source.report(str(found["run"]))["report"] if found.get("kept") else build(found, past)
    if arguments.format == "json":
        print(json.dumps(made, indent=2, ensure_ascii=False))
    elif arguments.format == "junit":
        from orchestrator.cli.junit import to_junit

        require_whole(found)
        print(to_junit(made, past), end="")
    else:
        print({"md": to_markdown, "html": to_html}[arguments.format](made), end="")
    return 0

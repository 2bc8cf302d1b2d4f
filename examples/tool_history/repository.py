"""The team's repository: `main` without the history of tools, and a branch `phase4` with it.

Files that the checklist names are filled up with empty comments to the length that it gives them.
"""

from pathlib import Path

from examples.git import commit, git

HERE = Path(__file__).parent
MARK = "\n\n# --- with the tool history ---\n"
OLD = ("app/agents/standard_workflow.py", "app/orchestration/executor.py", "app/routing/router_node.py")
NEW = {
    "app/models/tool_history.py": 180,
    "app/services/tool_history_service.py": 280,
    "app/routing/tool_preference_router.py": 350,
    "alembic/versions/p2_add_user_tool_history.py": 80,
    "app/services/test_tool_history_service.py": 172,
    "app/routing/test_tool_preference_router.py": 172,
    "app/test_integration.py": 172,
}
MORE = dict(zip(OLD, (200, 100, 30), strict=True))
DOCUMENTS = {
    "PHASE4_GETTING_STARTED.md": 207,
    "PHASE4_QUICK_REFERENCE.md": 432,
    "PHASE4_COMPLETION_VERIFICATION.md": 518,
    "PHASE4_TESTING_AND_DEPLOYMENT.md": 598,
    "PHASE4_FINAL_SUMMARY.md": 551,
}


def make_repository(folder: Path) -> None:
    """`origin.git`, where `main` is pushed to, and `work`, a clone of it."""
    origin, work = folder / "origin.git", folder / "work"
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git(folder, "clone", "--quiet", str(origin), str(work))
    git(work, "checkout", "--quiet", "-B", "main")
    write_before(work / "backend")
    commit(work, "Answer messages")
    git(work, "push", "--quiet", "origin", "main")
    git(work, "checkout", "--quiet", "-b", "phase4")
    write_after(work)
    commit(work, "Remember which tools helped whom")


def write_before(backend: Path) -> None:
    for file in sorted((HERE / "backend").rglob("*")):
        name = file.relative_to(HERE / "backend").as_posix()
        if file.suffix in (".py", ".ini") and name not in NEW:
            place = backend / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(file.read_text().partition(MARK)[0] if name in OLD else file.read_text())


def write_after(work: Path) -> None:
    for name, lines in NEW.items():
        (work / "backend" / name).write_text(filled((HERE / "backend" / name).read_text(), lines))
    for name, lines in MORE.items():
        there = (work / "backend" / name).read_text()
        (work / "backend" / name).write_text(filled((HERE / "backend" / name).read_text(), lines + length(there)))
    for name, lines in DOCUMENTS.items():
        (work / name).write_text(filled(f"{name.removesuffix('.md').replace('_', ' ').capitalize()}\n", lines))


def filled(text: str, lines: int) -> str:
    missing = lines - length(text)
    if missing < 0:
        raise ValueError(f"this has {length(text)} lines already, and should have {lines}: {text[:60]}")
    return text + "#\n" * missing


def length(text: str) -> int:
    return text.count("\n")

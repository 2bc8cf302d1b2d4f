"""The walk of a tool for the command line: who takes part, what goes wrong, what stays."""

from typing import Any

from tests.teams.giflab_world import GifLab, world
from tests.teams.team import Answer, Incident, Json, Person, Team

PHASES = ("build", "architecture", "memory", "testing")
LATE = (*(f"stages.{name}.verify=[]" for name in PHASES), "stages.build.checks=[]")  # what is later is looked at
LONG = ("watch.first day.to=1m", "watch.first week.from=1m", "watch.first week.to=2m")
LATER = ("first day.to=2s", "first day.every=1s", "first week.from=2s", "first week.to=4s", "first week.every=1s")
AFTER = (
    "tests in production",
    "commands that work",
    "import errors",
    "error messages",
    "dependency checks",
    "complaints",
    "diagnostics are used",
    "tickets",
    "interventions",
    "maintenance",
    "documents",
    "week 1 issues",
    "week 1 data",
    "week 1 troubleshooting",
    "week 1 speed",
    "month 1 support",
    "month 1 capacity",
    "month 1 deployments",
)
WINDOWS = ("cost of monitoring", "stability", "speed", "monitoring is normal", "memory", "month 1 stability")
DATA = "question:*/restore"


def fired(trigger: str) -> Json:
    return {"TriggerFired": {"trigger": trigger}}


def says_no(check: str) -> Json:
    return {"CheckAnswered": {"name": check, "standing": "no"}}


def asked(answer: str) -> Json:
    return {"WaitingAnswered": {"item": "trigger:*", "answer": answer}}


BACK: Json = {"RollbackStarted": {"cause": "trigger"}}
HELD: Json = {"HoldSet": {"hold": "trigger"}}
OFF: Json = {"EffectFinished": {"target": "flag:production/memoryMonitoring", "state": "done"}}


def nothing(_: GifLab) -> None:
    """It is the plan that meets something else, or the way back that mends."""


def fault(branch: str, stage: str, check: str, **more: Any) -> Incident[GifLab]:
    """A release with a fault does not pass its phase."""
    return Incident(
        f"no-go: {branch}",
        at=f"production/{stage}",
        breaks=nothing,
        **{
            "mends": nothing,
            "sets": (f"commands.vars.RELEASE=origin/{branch}",),
            "shows": (says_no(check), {"OnFailPaused": {"what": f"*{stage}*"}}),
            **more,
        },
    )


def knob(name: str, knobs: dict[str, float], **more: Any) -> Incident[GifLab]:
    return _late(name, lambda world: world.turns(**knobs), lambda world: world.turns(), **more)


def _late(name: str, breaks: Any, mends: Any, **more: Any) -> Incident[GifLab]:
    return Incident(
        name, **{"at": "production/watch", "breaks": breaks, "mends": mends, "sets": (*LATE, *LONG), **more}
    )


def put_right(world: GifLab) -> None:
    """Somebody installs in staging what has no fault."""
    world.installs(world.staging, world.made.release)


def show_signs(world: GifLab) -> None:
    world.turns(cli_seconds=5.0, overhead_share=0.02)
    world.fills_memory(85)
    world.loses("metrics.py")


def mend_signs(world: GifLab) -> None:
    world.turns()
    world.fills_memory(40)
    world.finds()


def block_collector(world: GifLab) -> None:
    shut = world.home / "collector"
    shut.rename(world.home / "collector.aside")
    shut.write_text("no folder")


def free_collector(world: GifLab) -> None:
    (world.home / "collector").unlink()
    (world.home / "collector.aside").rename(world.home / "collector")


def spoil(world: GifLab) -> None:
    """And again, whenever it is measured."""
    wrong = "UPDATE results SET psnr = psnr + 1 WHERE gif = '2.gif'"
    world.sql(f"CREATE TRIGGER spoils AFTER UPDATE ON results WHEN NEW.gif = '2.gif' BEGIN {wrong}; END")
    world.sql(wrong)


def break_settings(world: GifLab) -> None:
    (world.home / "config.json").write_text("{")


def mend_settings(world: GifLab) -> None:
    (world.home / "config.json").write_text('{"quality": 75}')


def add_broken_gif(world: GifLab) -> None:
    (world.home / "inbox" / "broken.gif").write_bytes(b"GIF89a")


def remove_broken_gif(world: GifLab) -> None:
    (world.home / "inbox" / "broken.gif").unlink()


def add_failing_test(world: GifLab) -> None:
    (world.production / "tests" / "test_more.py").write_text("def test_more() -> None:\n    raise AssertionError\n")


def remove_failing_test(world: GifLab) -> None:
    (world.production / "tests" / "test_more.py").unlink()


INCIDENTS: tuple[Incident[GifLab], ...] = (
    fault(
        "broken-imports",
        "build",
        "imports",
        mends=put_right,
        resumes=({"Resumed": {}}, {"StageEnded": {"stage": "build", "how": "done"}}),
    ),
    fault("caching-on", "architecture", "caching is off by default"),
    fault("reckless-thresholds", "memory", "thresholds are conservative"),
    fault("failing-tests", "testing", "all tests"),
    Incident(
        "somebody says no-go",
        at="production/build",
        breaks=nothing,
        mends=nothing,
        sets=LATE,
        shows=({"WaitingAnswered": {"item": "approval:*", "answer": "reject"}}, {"HoldSet": {"hold": "approval"}}),
        answers={"approval:*": Answer("reject", "the build is not stable enough")},
    ),
    _late(
        "signs that somebody should look",
        show_signs,
        mend_signs,
        shows=(
            fired("memory above 80 %"),
            fired("commands above 5 s"),
            fired("imports fail"),
            fired("monitoring above 1 %"),
            {"OnFailPaused": {"reason": "*health*"}},
        ),
        sets=(*LATE, *LONG, "watch.first day.checks=[]"),  # one of which would pause the run before the gate does
        fires=("memory above 80 %", "commands above 5 s", "imports fail", "monitoring above 1 %"),
    ),
    _late(
        "a test fails in production",
        add_failing_test,
        remove_failing_test,
        shows=(says_no("tests pass in production"), {"OnFailPaused": {}}),
    ),
    _late(
        "no command works",
        break_settings,
        mend_settings,
        shows=(fired("no command works"), BACK),
        fires=("no command works",),
        ends="rolled_back",
    ),
    _late(
        "the tool does not start",
        lambda world: world.loses("cli.py"),
        nothing,
        shows=(fired("the tool does not start"), BACK),
        fires=("the tool does not start",),
        ends="rolled_back",
    ),
    _late(
        "memory is used up",
        lambda world: world.fills_memory(97),
        lambda world: world.fills_memory(40),
        shows=(fired("memory is used up"), BACK),
        fires=("memory is used up",),
        ends="rolled_back",
    ),
    knob(
        "slower than before",
        {"slower": 1.25},
        shows=(fired("slower than before"), BACK),
        fires=("slower than before",),
        ends="rolled_back",
    ),
    _late(
        "results are spoilt",
        spoil,
        nothing,
        shows=(fired("results are spoilt"), BACK, {"NodeFinished": {"node": "question:*/restore#answer"}}),
        answers={DATA: Answer("approve", "2.gif is spoilt")},
        fires=("results are spoilt",),
        ends="rolled_back",
    ),
    knob(
        "monitoring costs too much",
        {"overhead_share": 0.06},
        shows=(fired("monitoring costs too much"), OFF, asked("approve"), {"RollbackStarted": {}}),
        fires=("monitoring costs too much",),
        ends="rolled_back",
    ),
    knob(
        "monitoring costs too much, and is switched off",
        {"overhead_share": 0.06},
        shows=(fired("monitoring costs too much"), OFF, asked("reject")),
        answers={"trigger:*": Answer("reject", "it is fast again")},
    ),
    _late(
        "users complain",
        nothing,
        nothing,
        by_hand="complaints",
        shows=(fired("complaints"), asked("approve"), {"RollbackStarted": {}}),
        fires=("complaints",),
        ends="rolled_back",
    ),
    _late(
        "errors persist",
        add_broken_gif,
        remove_broken_gif,
        shows=(fired("errors persist"), HELD),
        fires=("errors persist",),
    ),
    _late(
        "the collector takes no reports",
        block_collector,
        free_collector,
        shows=(fired("the collector takes no reports"), HELD),
        fires=("the collector takes no reports",),
    ),
    _late(
        "a part is rolled back",
        nothing,
        nothing,
        by_hand="partial rollback",
        shows=(fired("partial rollback"), OFF),
        fires=("partial rollback",),
    ),
)

TEAM: Team[GifLab] = Team(
    name="giflab",
    people=(
        Person("dana", ("engineering",)),
        Person("eli", ("engineering",)),
        Person("omar", ("operations",)),
        Person("sue", ("support",)),
        Person("priya", ("product",)),
        Person("app", ()),
    ),
    world=world,
    renew=GifLab.renew,
    quick=(
        "stages.monitoring.bake=1s",
        *(f"watch.{one}" for one in LATER),
        *(f"success.{name}.after=1s" for name in AFTER),
        *(f"success.{name}.window=2s" for name in WINDOWS),
    ),
    answers={DATA: Answer("reject", "results are whole")},
    incidents=INCIDENTS,
)

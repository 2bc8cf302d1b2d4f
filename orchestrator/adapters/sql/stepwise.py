"""SQL files on PostgreSQL that hold what can't run in a transaction: one statement after the other.

Theory of operation. One session holds the lock of migrators from begin to end. A row says how many statements are done.
A statement that can run in a transaction moves the row on in that transaction, so the row says exactly whether it ran.
For one that can't, the row first says "begun", and "done" afterwards. Whoever finds it begun holds the lock, so the
session that ran it is gone, and asks the catalogue: an index is there and valid, there and half built (it is dropped
and built again), or not there. What the catalogue can't tell is unknown, and a person corrects the row.

The row carries a digest of the statements it speaks of: those may not change any more, those that follow may.
"""

import contextlib
from collections.abc import Sequence
from functools import partial

import psycopg

from orchestrator.adapters.sql.alone import Alone, Step
from orchestrator.adapters.sql.catalogue import Answer, Verdict, ask
from orchestrator.adapters.sql.connection import Connection, Lost, cancel, explain, migrating, set_limit
from orchestrator.adapters.sql.history import History
from orchestrator.adapters.sql.job import PROGRESS, Job, PartlyRun, Progress, Stop, Uncertain, digest_of
from orchestrator.adapters.sql.text import Statement
from orchestrator.adapters.sql.transaction import (
    begin,
    commit,
    execute,
    lock_migrators,
    patiently,
    queue_seconds,
    where,
)
from orchestrator.errors import Permanent, RolloutError, Temporary
from orchestrator.failpoints import Point, reach

CLEAN_UP_SECONDS = 8.0  # less than a cancelled effect is waited for


def run(url: str, job: Job, steps: Sequence[Step], stop: Stop) -> str:
    """As ``postgres.run``. Raises ``PartlyRun`` if a statement was refused after others had run."""
    with migrating(url, job, stop) as connection:
        seconds = job.operation.lock_timeout_seconds
        lock_migrators(connection, job.file, seconds, stop, "pg_try_advisory_lock", lambda: None)
        history = History.of(connection)
        settled = _settled(history, job)
        if settled is not None:
            return settled
        return _Walk(connection, history, job, steps, stop).to_the_end()


def _settled(history: History, job: Job) -> str | None:
    """Why nothing is to be done."""
    progress = history.progress(job.name)
    if progress is not None and progress.direction == job.operation.direction:
        return None
    refuse_half_way_back(progress, job)
    if progress is not None:
        return None  # what ran of the file is taken back
    settled = job.settled(history.checksum(job.name))
    if settled is None and job.is_up:
        job.check_order(history.in_order(job.neighbours))
    return settled


def refuse_half_way_back(progress: Progress | None, job: Job) -> None:
    if job.is_up and progress is not None and progress.direction == "down":
        raise Permanent(
            f"the down file of {job.name} ran in part ({progress.statements} statements); bring that to its end by "
            f"hand and remove the file's rows from rollout_migrations and {PROGRESS}"
        )


class _Walk:
    """The way through the statements of one file, on one session."""

    def __init__(self, connection: Connection, history: History, job: Job, steps: Sequence[Step], stop: Stop) -> None:
        self._connection = connection
        self._history = history
        self._job = job
        self._steps = steps
        self._stop = stop
        self._told: list[str] = []

    def to_the_end(self) -> str:
        progress = self._history.progress(self._job.name)
        if progress is None or progress.direction != self._job.operation.direction:
            progress = Progress(self._job.operation.direction, "", 0)
        self._refuse_other_contents(progress)
        self._say_settings_again(progress.done)
        index = progress.done
        if index:
            self._told.append(f"it went on at line {self._steps[min(index, len(self._steps) - 1)].statement.line}")
        if progress.begun:
            index = self._after_interruption(index)
        for at in range(index, len(self._steps)):
            patiently(self._job, self._stop, partial(self._step, at))
        self._finish()
        return "; ".join((f"{self._job.file} ran", *self._told))

    # --- where it begins ----------------------------------------------------------------------------------------------

    def _refuse_other_contents(self, progress: Progress) -> None:
        count = progress.statements
        if count and (count > len(self._steps) or self._digest(count) != progress.digest):
            raise Permanent(
                f"{self._job.file} was begun with other contents: put its first {count} statements back as they were "
                f"(what follows them may change), or bring it to its end by hand and remove its row from {PROGRESS}"
            )

    def _digest(self, count: int) -> str:
        return digest_of([step.statement for step in self._steps[:count]])

    def _say_settings_again(self, count: int) -> None:
        """Settings live in the session that said them, which is gone."""
        for step in self._steps[:count]:
            if step.statement.words[:1] in (("SET",), ("RESET",)):
                execute(self._connection, step.statement, self._job, self._stop, self._kept(count))

    def _after_interruption(self, index: int) -> int:
        """The index at which to go on, after an earlier life was interrupted inside the statement at *index*."""
        step = self._steps[index]
        if step.alone is None:
            return index
        answer = ask(self._connection, step.alone)
        title = f"{step.alone.title} in line {step.statement.line}"
        if answer.verdict is Verdict.DONE:
            self._told.append(f"{title} had been interrupted, and is done")
            self._note(index + 1)
            return index + 1
        if answer.verdict is Verdict.UNKNOWN:
            raise Uncertain(
                f"{self._job.file}: {title} was interrupted, and nothing tells whether it was done; look, and say so "
                f"in {PROGRESS}: begun = false, and done = {index + 1} if it was, {index} if not"
            )
        return index

    # --- one statement ------------------------------------------------------------------------------------------------

    def _step(self, index: int) -> None:
        step = self._steps[index]
        try:
            if step.alone is None:
                self._in_transaction(index, step.statement)
            else:
                self._alone(index, step.statement, step.alone)
        except Permanent as problem:
            left = self._history.progress(self._job.name)
            if left is None:
                raise
            raise PartlyRun(
                f"{problem}; {self._kept(index)}; put right what is wrong from there on, and it goes on there",
                left.statements,
            ) from problem

    def _kept(self, index: int) -> str:
        if not index:
            return "nothing was changed"
        return (
            f"the {index} statements before it ran and stay" if index > 1 else "the statement before it ran and stays"
        )

    def _in_transaction(self, index: int, statement: Statement) -> None:
        begin(self._connection, self._job)
        try:
            execute(self._connection, statement, self._job, self._stop, self._kept(index))
            self._write(index + 1)
            self._commit(statement.line)
        except RolloutError:
            with contextlib.suppress(psycopg.Error):
                self._connection.execute("ROLLBACK")
            raise

    def _note(self, done: int, *, begun: bool = False) -> None:
        """A transaction of its own that moves the row."""
        begin(self._connection, self._job)
        self._write(done, begun=begun)
        self._commit(self._steps[max(done - 1, 0)].statement.line)

    def _write(self, done: int, *, begun: bool = False) -> None:
        if not done and not begun:
            self._history.forget_progress(self._job)
            return
        digest = self._digest(done + begun)
        self._history.note_progress(self._job, Progress(self._job.operation.direction, digest, done, begun))

    def _commit(self, line: int) -> None:
        self._stop.arm(None)  # a commit is not cancelled: its outcome would be unknown
        try:
            if not commit(self._connection, self._job):
                raise Uncertain(
                    f"the connection was lost while {self._job.file}, line {line} was committed; "
                    "the database's row says at the next try whether it was"
                )
        finally:
            self._arm()

    def _arm(self) -> None:
        self._stop.arm(partial(cancel, self._connection))

    def _alone(self, index: int, statement: Statement, alone: Alone) -> None:
        if self._stop.asked:
            raise Temporary(f"{self._job.file} was stopped; {self._kept(index)}")
        self._limits(alone)
        answer = ask(self._connection, alone)
        if answer.verdict is not Verdict.DONE:  # else it changes nothing, and is not to be taken for ours later
            self._note(index, begun=True)
        reach(Point.SQL_STEP_BEGUN)
        try:
            self._repair(answer)
            self._connection.execute(statement.text.encode() if answer.instead is None else answer.instead)
        except psycopg.Error as error:
            self._failed(index, statement, alone, error)
        reach(Point.SQL_STEP_RAN)
        self._note(index + 1)
        reach(Point.SQL_STEP_NOTED)

    def _limits(self, alone: Alone) -> None:
        """Nobody queues behind a statement that is *quiet*, so it may wait for old transactions as long as it needs."""
        set_limit(self._connection, "lock_timeout", 0.0 if alone.quiet else queue_seconds(self._job), session=True)
        seconds = self._job.operation.statement_timeout_seconds
        set_limit(self._connection, "statement_timeout", seconds, session=True)

    def _repair(self, answer: Answer) -> None:
        for query in answer.repair:
            self._connection.execute(query)
        if answer.repair:
            self._told.append(f"{answer.left} was dropped and built again")
        if answer.instead is not None:
            self._told.append(f"{answer.left}, was brought to its end")

    def _failed(self, index: int, statement: Statement, alone: Alone, error: psycopg.Error) -> None:
        """Never returns: cleans up, and raises the error with what became of it."""
        place = where(error, statement, self._job)
        problem = explain(error, place, self._job, self._kept(index))
        if isinstance(problem, Lost) or self._connection.closed:
            raise Uncertain(
                f"{place}: the connection was lost inside {alone.title}; what became of it is looked up at the next try"
            ) from error
        cleaned = self._clean_up(index, alone)
        if self._stop.asked:
            raise Temporary(f"{place}: it was stopped{cleaned}; {self._kept(index)}") from error
        problem.args = (f"{problem}{cleaned}",)
        raise problem from error

    def _clean_up(self, index: int, alone: Alone) -> str:
        """Removes what a failed statement left; what was done about it, to be added to a sentence."""
        self._stop.arm(None)
        try:
            set_limit(self._connection, "statement_timeout", CLEAN_UP_SECONDS, session=True)
            answer = ask(self._connection, alone)
            if answer.instead is not None or answer.verdict is Verdict.UNKNOWN:
                return f"; {answer.left or 'what became of it'} is seen to at the next try"
            for query in answer.repair:
                self._connection.execute(query)
            self._note(index)
        except (psycopg.Error, RolloutError, Uncertain) as problem:
            return f"; what it left could not be cleaned up and is seen to at the next try ({problem})"
        finally:
            self._arm()
        return f"; {answer.left} was dropped" if answer.repair else ""

    def _finish(self) -> None:
        begin(self._connection, self._job)
        self._history.note(self._job)
        self._commit(self._steps[-1].statement.line)

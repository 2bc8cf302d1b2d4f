"""Results and failures, in SQLite; each result carries a sum by which one that was spoilt is known."""

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

SCHEMA = """
CREATE TABLE IF NOT EXISTS results (gif TEXT PRIMARY KEY, frames INTEGER, mse REAL, psnr REAL, tag TEXT, checksum TEXT);
CREATE TABLE IF NOT EXISTS failures (gif TEXT PRIMARY KEY, error TEXT);
"""
Row = tuple[str, int, float, float]


class Results:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def save(self, gif: str, frames: int, mse: float, psnr: float) -> None:
        row = (gif, frames, mse, psnr)
        with self._connection as open_one:
            open_one.execute(
                "INSERT INTO results (gif, frames, mse, psnr, checksum) VALUES (?, ?, ?, ?, ?) ON CONFLICT (gif)"
                " DO UPDATE SET (frames, mse, psnr, checksum) ="
                " (excluded.frames, excluded.mse, excluded.psnr, excluded.checksum)",
                (*row, checksum(row)),
            )
            open_one.execute("DELETE FROM failures WHERE gif = ?", (gif,))

    def fail(self, gif: str, error: str) -> None:
        with self._connection as open_one:
            open_one.execute("INSERT OR REPLACE INTO failures VALUES (?, ?)", (gif, error))

    def forget_failures(self, there: set[str]) -> None:
        """Of GIFs that are gone."""
        with self._connection as open_one:
            gone = [(gif,) for gif, _ in self.failures() if gif not in there]
            open_one.executemany("DELETE FROM failures WHERE gif = ?", gone)

    def tag(self) -> int:
        with self._connection as open_one:
            words = "CASE WHEN psnr >= 30 THEN 'good' ELSE 'poor' END"
            return open_one.execute(f"UPDATE results SET tag = {words}").rowcount  # noqa: S608 - our own words

    def failures(self) -> list[tuple[str, str]]:
        return self._connection.execute("SELECT gif, error FROM failures ORDER BY gif").fetchall()

    def best(self, count: int) -> list[tuple[str, float]]:
        return self._connection.execute(
            "SELECT gif, psnr FROM results ORDER BY psnr DESC, gif LIMIT ?", (count,)
        ).fetchall()

    def spoilt(self) -> list[str]:
        """Results that are not what was written."""
        rows = self._connection.execute("SELECT gif, frames, mse, psnr, checksum FROM results ORDER BY gif")
        return [str(row[0]) for row in rows if checksum(row[:4]) != row[4]]

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM results").fetchone()[0])


def checksum(row: Row) -> str:
    return hashlib.sha256(repr(row).encode()).hexdigest()


@contextmanager
def opened(file: Path) -> Iterator[Results]:
    with closing(sqlite3.connect(file, timeout=10.0)) as connection:
        connection.executescript(SCHEMA)
        yield Results(connection)

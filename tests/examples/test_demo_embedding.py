"""The demonstration's service: which way a document takes, and where the second release's mistake shows."""

from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

import pytest

from examples.demo import embedding
from examples.demo.embedding import BATCH, COLLECT, LOOKUP, MONITORING, QUEUE, Embedding
from examples.demo.features import OFF, Feature, Features
from examples.demo.metrics import Metrics
from examples.demo.store import Job, MissingTable, Store

SQL = Path(embedding.__file__).parent / "sql"
ON = Feature(True)


class FixedFeatures(Features):
    """Every user gets the same answers."""

    def __init__(self, answers: Mapping[str, Feature]) -> None:
        self._fixed = dict(answers)

    def read(self, flag: str, key: str) -> Feature:
        return self._fixed.get(flag, OFF)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "documents.db")
    yield store
    store.close()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MODEL_SECONDS", 0.0)


def migrate(store: Store, *names: str) -> None:
    for name in names:
        store._run((SQL / f"{name}.sql").read_text())


def service(store: Store, **answers: Feature) -> tuple[Embedding, Metrics]:
    metrics = Metrics(store.queued)
    return Embedding(store, FixedFeatures(answers), metrics), metrics


def counted(metrics: Metrics, flag: str, outcome: str, variant: str = "on") -> float:
    start = f'embedding_work_total{{flag="{flag}",outcome="{outcome}",variant="{variant}"}} '
    return sum(
        float(line.removeprefix(start)) for line in metrics.text().decode().splitlines() if line.startswith(start)
    )


def test_without_flags_a_document_is_embedded_at_once(store: Store) -> None:
    app, metrics = service(store)
    assert app.receive("user-1", "small red cup") == 200
    assert store.documents() == 1
    assert counted(metrics, QUEUE, "ok", "off") == 1


def test_with_the_queue_a_document_waits_for_a_worker(store: Store) -> None:
    migrate(store, "002_queue")
    app, metrics = service(store, **{QUEUE: ON})
    assert app.receive("user-1", "small red cup") == 202
    assert (store.queued(), store.documents()) == (1, 0)
    app.work(0.0)
    assert (store.queued(), store.documents()) == (0, 1)
    assert counted(metrics, QUEUE, "ok") == 1


def test_what_was_queued_before_a_restart_is_done_after_it(store: Store) -> None:
    migrate(store, "002_queue")
    store.enqueue(Job("user-1", "small red cup"))
    app, _ = service(store, **{QUEUE: ON})
    app.work(0.0)
    assert store.documents() == 1


def test_without_its_table_the_queue_falls_back_where_its_parameters_allow_that(store: Store) -> None:
    app, _ = service(store, **{QUEUE: Feature(True, {"fallbackToDirectProcessing": True})})
    assert app.receive("user-1", "small red cup") == 200
    strict, _ = service(store, **{QUEUE: ON})
    with pytest.raises(MissingTable):
        strict.receive("user-1", "small red cup")


def test_monitoring_without_its_table_is_an_error_of_monitoring_and_not_of_the_user(store: Store) -> None:
    app, metrics = service(store, **{MONITORING: ON})
    assert app.receive("user-1", "small red cup") == 200
    assert counted(metrics, MONITORING, "error") == 1
    migrate(store, "001_metrics")
    app.receive("user-1", "small red cup")
    assert counted(metrics, MONITORING, "ok") == 1


def test_a_text_that_was_collected_is_not_embedded_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "LOOKUP_SECONDS", 0.0)
    migrate(store, "003_fingerprints")
    app, _ = service(store, **{COLLECT: ON, LOOKUP: ON})
    assert [app.receive("user-1", "small red cup") for _ in range(2)] == [200, 200]
    assert store.documents() == 1


def test_more_lookups_at_a_time_than_connections_fail(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(store, "003_fingerprints")
    app, metrics = service(store, **{LOOKUP: ON})
    still_looking = Event()
    monkeypatch.setattr(store, "knows", lambda text: still_looking.wait(10))
    monkeypatch.setattr(embedding, "LOOKUP_SECONDS", 0.0)
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(app.receive, f"user-{number}", "small red cup") for number in range(4)]
        first, _ = wait(answers, timeout=10, return_when=FIRST_COMPLETED)
        still_looking.set()
        assert [answer.result() for answer in first] == [500], "the one that found no connection"
        assert sorted(answer.result() for answer in answers) == [200, 200, 200, 500]
    assert (counted(metrics, LOOKUP, "ok"), counted(metrics, LOOKUP, "error")) == (3, 1)


def test_a_batch_keeps_every_text_and_takes_its_width_from_the_parameters(store: Store) -> None:
    app, metrics = service(store, **{BATCH: Feature(True, {"maxConcurrentRequests": 4})})
    app.batch("team-1", ["price list", "opening hours", "price list"])
    assert store.documents() == 3
    assert counted(metrics, BATCH, "ok") == 1


def test_the_vector_counts_words_and_not_their_order() -> None:
    assert embedding.embed("red cup red") == embedding.embed("cup red red") != embedding.embed("red cup")

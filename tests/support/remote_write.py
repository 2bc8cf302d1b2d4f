"""A Prometheus whose past a test writes, by its remote-write protocol.

    with PastPrometheus(prometheus_binary, tmp_path) as prometheus:
        prometheus.remember([Past({"__name__": "errors_total", "job": "shop"}, [(at, value), ...]), ...])

Samples are sent in the order of time over all series, an hour at a time, for it takes none that are much older than
its newest.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.support.prometheus import Prometheus

PIECE_SECONDS = 3600.0
HEADERS = {
    "Content-Encoding": "snappy",
    "Content-Type": "application/x-protobuf",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}


@dataclass(frozen=True, slots=True)
class Past:
    labels: Mapping[str, str]
    samples: Sequence[tuple[float, float]]  # time in seconds, value; oldest first


class PastPrometheus(Prometheus):
    """It scrapes nothing."""

    def __init__(self, binary: Path, folder: Path) -> None:
        super().__init__(binary, folder, [], scrape_interval_ms=15_000)

    def remember(self, series: Sequence[Past]) -> None:
        write(f"{self.url}/api/v1/write", series)

    def _command(self, binary: Path) -> list[str | Path]:
        return [*super()._command(binary), "--web.enable-remote-write-receiver"]


def write(url: str, series: Sequence[Past]) -> None:
    """Sends them to whatever takes remote writes at *url*."""
    begin = min(one.samples[0][0] for one in series)
    end = max(one.samples[-1][0] for one in series)
    places = [0] * len(series)
    with httpx.Client(trust_env=False, timeout=60) as http:
        until = begin
        while until <= end:
            until += PIECE_SECONDS
            message = b"".join(_piece(series, places, until))
            answer = http.post(url, content=_snappy(message), headers=HEADERS)
            assert answer.is_success, f"{url} took no samples: {answer.status_code} {answer.text}"


def _piece(series: Sequence[Past], places: list[int], until: float) -> Iterator[bytes]:
    """Each series with its samples from its place up to *until*."""
    for index, one in enumerate(series):
        begin = end = places[index]
        while end < len(one.samples) and one.samples[end][0] < until:
            end += 1
        if end > begin:
            places[index] = end
            labels = b"".join(_field(1, _label(*pair)) for pair in sorted(one.labels.items()))
            yield _field(1, labels + b"".join(_samples(one.samples[begin:end])))


def _samples(samples: Iterable[tuple[float, float]]) -> Iterator[bytes]:
    for at, value in samples:
        yield _field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + _varint(round(at * 1000)))


def _label(name: str, value: str) -> bytes:
    return _field(1, name.encode()) + _field(2, value.encode())


def _field(number: int, content: bytes) -> bytes:
    """A protobuf field with a length: message, text or bytes."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _snappy(content: bytes) -> bytes:
    """Snappy's block format, all of it one literal: nothing is compressed."""
    return _varint(len(content)) + b"\xfc" + struct.pack("<I", len(content) - 1) + content

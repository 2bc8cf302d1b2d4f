"""A frame: rows of greys from 0 to 127."""

from dataclasses import dataclass

CHANNELS = 3  # each grey stands for red, green and blue


@dataclass(frozen=True)
class Frame:
    rows: tuple[bytes, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.rows), len(self.rows[0]), CHANNELS


def zeros(height: int, width: int) -> Frame:
    return Frame((bytes(width),) * height)


def resize(frame: Frame, size: tuple[int, int]) -> Frame:
    """To *size* (width, height), by the nearest pixel."""
    width, height = size
    there_height, there_width, _ = frame.shape
    columns = [column * there_width // width for column in range(width)]
    rows = (frame.rows[row * there_height // height] for row in range(height))
    return Frame(tuple(bytes(row[column] for column in columns) for row in rows))

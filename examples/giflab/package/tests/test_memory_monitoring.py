"""The monitor's levels, what it costs, and whom it tells."""

# ruff: noqa: INP001 - tests of the tool
import importlib
from pathlib import Path

import pytest

config = importlib.import_module("giflab.config")
monitoring = importlib.import_module("giflab.monitoring")
integration = importlib.import_module("giflab.monitoring.memory_integration")
LEVELS = {
    0: "NORMAL",
    69: "NORMAL",
    70: "WARNING",
    79: "WARNING",
    80: "CRITICAL",
    94: "CRITICAL",
    95: "EMERGENCY",
    99: "EMERGENCY",
}


@pytest.fixture
def meminfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "meminfo"
    monkeypatch.setenv("GIFLAB_MEMINFO", str(file))
    return file


def use(meminfo: Path, percent: int) -> None:
    meminfo.write_text(f"MemTotal: {100 << 20} kB\nMemFree: 1 kB\nMemAvailable: {(100 - percent) << 20} kB\n")


@pytest.mark.parametrize("percent", LEVELS)
def test_pressure_has_levels(meminfo: Path, percent: int) -> None:
    use(meminfo, percent)
    assert monitoring.SystemMemoryMonitor().get_pressure_level().name == LEVELS[percent]


@pytest.mark.parametrize("percent", (1, 25, 50, 75))
def test_what_is_left_is_in_gigabytes(meminfo: Path, percent: int) -> None:
    use(meminfo, percent)
    assert monitoring.SystemMemoryMonitor().get_memory_stats().available_gb == pytest.approx(100 - percent)


def test_thresholds_are_conservative() -> None:
    assert config.MONITORING["memory_pressure"]["thresholds"] == {"warning": 0.7, "critical": 0.8, "emergency": 0.95}


def test_a_look_costs_less_than_one_percent(meminfo: Path) -> None:
    use(meminfo, 50)
    assert 0 < monitoring.SystemMemoryMonitor().overhead_share() < 0.01


@pytest.mark.parametrize("percent", (10, 72, 85, 97))
def test_the_collector_is_told(meminfo: Path, tmp_path: Path, percent: int) -> None:
    use(meminfo, percent)
    file = integration.MemoryPressureIntegration(monitoring.SystemMemoryMonitor(), tmp_path).report()
    assert f"giflab_reported_used_share {percent / 100:.4f}\n" in file.read_text()


def test_a_collector_that_takes_nothing_is_told_of(meminfo: Path, tmp_path: Path) -> None:
    use(meminfo, 50)
    with pytest.raises(OSError, match="nowhere"):
        integration.MemoryPressureIntegration(monitoring.SystemMemoryMonitor(), tmp_path / "nowhere").report()

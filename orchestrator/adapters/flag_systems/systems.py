"""Every kind of system that a plan can name, opened."""

from dataclasses import dataclass
from typing import assert_never

from orchestrator.adapters.flag_systems.flagd_file import FlagdFile
from orchestrator.adapters.flag_systems.port import FlagSystem
from orchestrator.adapters.flag_systems.unleash import UnleashFlags
from orchestrator.adapters.http_client import HttpClient
from orchestrator.ports import Scene
from stages.flag_systems import AnyFlagSystem, FlagdSystem, UnleashSystem


@dataclass(frozen=True, slots=True)
class FlagSystems:
    http: HttpClient

    def open(self, system: AnyFlagSystem, scene: Scene) -> FlagSystem:
        """Raises ``Permanent`` for a file that plans may not name."""
        match system:
            case UnleashSystem():
                return UnleashFlags(self.http, system, scene.directory)
            case FlagdSystem():
                return FlagdFile(self.http.secrets.allowed_path(system.file, scene.directory))
            case _:
                assert_never(system)

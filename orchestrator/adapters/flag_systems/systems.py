"""Every kind of system that a plan can name, opened."""

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import assert_never
from weakref import WeakValueDictionary

from orchestrator.adapters.flag_systems.flagd import DocumentPlace, FlagdFlags
from orchestrator.adapters.flag_systems.flagd_file import FlagdFile
from orchestrator.adapters.flag_systems.flagd_objects import ConfigMapDocument, FeatureFlagDocument
from orchestrator.adapters.flag_systems.port import FlagSystem
from orchestrator.adapters.flag_systems.unleash import UnleashFlags
from orchestrator.adapters.http_client import HttpClient
from orchestrator.adapters.kubernetes.client import Clusters
from orchestrator.ports import Scene
from stages.flag_systems import AnyFlagSystem, FlagdSystem, UnleashSystem


@dataclass(frozen=True, slots=True)
class FlagSystems:
    http: HttpClient
    clusters: Clusters
    _turns: WeakValueDictionary[FlagdSystem, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def turn(self, system: AnyFlagSystem) -> AbstractAsyncContextManager[None]:
        """Flags of one document are changed one after the other: at once, each change would be refused for the last."""
        if not isinstance(system, FlagdSystem):
            return nullcontext()
        return self._turns.setdefault(system, asyncio.Lock())

    def open(self, system: AnyFlagSystem, scene: Scene) -> FlagSystem:
        """Raises ``Permanent`` for a file that plans may not name."""
        match system:
            case UnleashSystem():
                return UnleashFlags(self.http, system, scene.directory)
            case FlagdSystem():
                return FlagdFlags(self._document(system, scene))
            case _:
                assert_never(system)

    def _document(self, system: FlagdSystem, scene: Scene) -> DocumentPlace:
        if system.file is not None:
            return FlagdFile(self.http.secrets.allowed_path(system.file, scene.directory))
        if system.config_map is not None:
            return ConfigMapDocument(self.clusters, system.cluster, system.config_map, system.key)
        assert system.feature_flag is not None, "checked when it was made"
        return FeatureFlagDocument(self.clusters, system.cluster, system.feature_flag)

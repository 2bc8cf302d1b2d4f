"""flagd's sync service over gRPC: what its in-process providers, and flagd itself, connect to.

    service FlagSyncService {                                             package flagd.sync.v1
      rpc SyncFlags(SyncFlagsRequest) returns (stream SyncFlagsResponse)
      rpc FetchAllFlags(FetchAllFlagsRequest) returns (FetchAllFlagsResponse)
    }
    SyncFlagsRequest, FetchAllFlagsRequest       string provider_id = 1; string selector = 2
    SyncFlagsResponse, FetchAllFlagsResponse     string flag_configuration = 1

gRPC is imported nowhere else, and here only when the service is started: it is the extra ``flagd``.
"""

from orchestrator.flagd_sync.server import DEFAULT_PORT, serving_flagd

__all__ = ["DEFAULT_PORT", "serving_flagd"]

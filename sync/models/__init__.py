"""REMEMBERING: what is synchronised, what came, and what became of it.

Every write names its fields: several processes write to the same rows.
"""

from __future__ import annotations

from sync.models.access import ApiToken, SetupDraft
from sync.models.config import (
    BadRowPolicy,
    EmptyText,
    MissingKeys,
    NewTables,
    SourceKind,
    SyncConfig,
)
from sync.models.event import Event
from sync.models.incident import Incident, Notice, Receiver
from sync.models.partition import SyncPartition
from sync.models.progress import (
    ATTEMPTS_BEFORE_PARKING,
    DataSyncProgress,
    ProgressQuerySet,
    retry_delay,
)
from sync.models.row import QuarantinedRow, Tombstone, path_of
from sync.models.service import CLUSTER_DEAD_AFTER, Cluster, Heartbeat, Worker
from sync.models.table import SyncTable
from sync.models.text import clean

__all__ = [
    "ATTEMPTS_BEFORE_PARKING",
    "CLUSTER_DEAD_AFTER",
    "ApiToken",
    "BadRowPolicy",
    "Cluster",
    "DataSyncProgress",
    "EmptyText",
    "Event",
    "Heartbeat",
    "Incident",
    "MissingKeys",
    "NewTables",
    "Notice",
    "ProgressQuerySet",
    "QuarantinedRow",
    "Receiver",
    "SetupDraft",
    "SourceKind",
    "SyncConfig",
    "SyncPartition",
    "SyncTable",
    "Tombstone",
    "Worker",
    "clean",
    "path_of",
    "retry_delay",
]

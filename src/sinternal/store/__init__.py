"""Artifacts on disk: named by what they were made from, complete or absent, and resumable while they grow."""

from sinternal.store.artifact import MANIFEST, Artifact, artifact_key
from sinternal.store.draft import Draft, Progress
from sinternal.store.files import check_writable
from sinternal.store.lookup import Index, Lookup
from sinternal.store.store import Store
from sinternal.store.tables import Table, read_table

__all__ = [
    "MANIFEST",
    "Artifact",
    "Draft",
    "Index",
    "Lookup",
    "Progress",
    "Store",
    "Table",
    "artifact_key",
    "check_writable",
    "read_table",
]

"""The constants of ``elasticslice.managers.core.SimpleElasticSliceManager``, value for value; seconds."""

from __future__ import annotations

CM_METHODS = [
    "ensure_sliver",
    "update_sliver_status",
    "update_available",
    "update_all",
    "add_nodes",
    "delete_nodes",
]
DEF_INTERVAL = 60
DEF_INTERVALS = {
    "update_available": 600,
    "ensure_sliver": 60,
    "delete_nodes": 300,
    "update_sliver_status": 60,
    "update_all": 86400,
    "renew": 3600,
    "add_nodes": 300,
    "ensure_slice": 60,
}
DEF_MAX_THRESHOLD = 10
DEF_MIN_THRESHOLD = 1
DEF_ORDER = [
    "ensure_slice",
    "ensure_sliver",
    "update_sliver_status",
    "renew",
    "update_all",
    "update_available",
    "get_system_state",
    "add_nodes",
    "delete_nodes",
    "set_system_state",
]
METHOD_RESET_TRIGGERS = {
    "add_nodes": ["update_sliver_status", "update_available", "get_system_state", "set_system_state"],
    "delete_nodes": ["update_sliver_status", "update_available", "get_system_state", "set_system_state"],
}

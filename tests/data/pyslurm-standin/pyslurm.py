"""A stand-in for pyslurm 25.11 with its names and habits, steered by scenario.json beside it.

Reads come from the scenario, changes go to journal.jsonl. Text may be given as {"bytes": [..]}: like Cython,
the stand-in decodes it when it is asked for.
"""

import json
import os
import sys
import time
from enum import Flag
from pathlib import Path
from types import SimpleNamespace

_HERE = Path(__file__).parent
_SCENARIO = json.loads((_HERE / "scenario.json").read_text())
__version__ = "25.11.2"


def _behave(moment):
    """Misbehave where the scenario says so."""
    if (do := _SCENARIO.get("faults", {}).get(moment)) is None:
        return
    if once := do.get("once"):
        try:
            (_HERE / once).touch(exist_ok=False)
        except FileExistsError:
            return
    sys.stderr.write(do.get("stderr", ""))
    sys.stderr.flush()
    os.write(1, do.get("stdout", "").encode())
    if "hold" in do:
        _SCENARIO.setdefault("held", []).append(bytearray(do["hold"]))
    if "exit" in do:
        os._exit(do["exit"])
    if "kill" in do:
        os.kill(os.getpid(), do["kill"])
    if "import_error" in do:
        raise ImportError(do["import_error"])
    if "errno" in do:
        raise RPCError(do["errno"], do["text"])
    if "hang" in do:
        time.sleep(600)


class PyslurmError(Exception):
    pass


class RPCError(PyslurmError):
    def __init__(self, errno, msg):
        super().__init__(msg)
        self.errno = errno


def _journal(*what):
    _behave(what[0])
    with (_HERE / "journal.jsonl").open("a") as journal:
        journal.write(json.dumps(what) + "\n")


def _plain(value):
    if isinstance(value, dict) and "bytes" in value:
        return bytes(value["bytes"]).decode()
    if isinstance(value, dict) and "raises" in value:
        raise ValueError(value["raises"])
    return value


class _Record:
    fields = ()

    def __init__(self, key=None, **values):
        self.key, self.values = key, values

    def __init_subclass__(cls):
        for name in cls.fields:
            setattr(cls, name, property(lambda self, name=name: _plain(self.values.get(name))))


class Node(_Record):
    fields = (
        "name", "state", "address", "weight", "active_features", "total_cpus", "allocated_cpus",
        "real_memory", "allocated_memory", "reason", "reason_user", "partitions", "boot_time",
        "last_busy_time", "configured_gres", "sockets", "cores_per_socket", "threads_per_core",
        "effective_cpus", "memory_reserved_for_system", "temporary_disk",
    )  # fmt: skip

    def modify(self, changes):
        unknown = set(self.key.split(",")) & set(_SCENARIO.get("unknown_nodes", []))
        _journal("modify_node", self.key, changes.values)
        if unknown:
            raise RPCError(2018, "Invalid node name specified")

    def delete(self):
        _journal("delete_node", self.key)
        if set(self.key.split(",")) & set(_SCENARIO.get("unknown_nodes", [])):
            raise RPCError(2018, "Invalid node name specified")


class Job(_Record):
    fields = (
        "id", "array_id", "array_task_id", "array_tasks_waiting", "array_tasks_parallel", "heterogeneous_id",
        "heterogeneous_offset", "state", "user_id", "state_reason", "partition", "allocated_nodes",
        "num_nodes", "cpus", "constraints", "resource_sharing", "eligible_time", "required_nodes",
        "excluded_nodes", "qos", "reservation", "memory_per_node", "memory_per_cpu", "gres_per_node",
        "submit_time", "start_time", "end_time", "time_limit", "is_requeueable", "is_batch_job",
        "requeue_count", "name", "max_nodes", "ntasks", "cpus_per_task", "min_cpus_per_node",
        "ntasks_per_node", "ntasks_per_socket", "ntasks_per_core", "ntasks_per_gpu", "sockets_per_node",
        "cores_per_socket", "threads_per_core", "cores_reserved_for_system", "threads_reserved_for_system",
        "temporary_disk_per_node", "requires_contiguous_nodes",
    )  # fmt: skip

    @staticmethod
    def load(number):
        _journal("load_job", number)
        for values in _SCENARIO.get("jobs", []):
            if values["id"] == number:
                return Job(**values)
        raise RPCError(2017, "Invalid job id specified")

    def send_signal(self, signal, steps="children"):
        _journal("signal", self.key, signal, steps)

    def notify(self, msg):
        _journal("notify", self.key, msg)

    def modify(self, changes):
        _journal("modify_job", self.key, changes.values)


class JobSubmitDescription(_Record):
    pass


class Reservation(_Record):
    fields = ("name", "nodes", "start_time", "end_time", "partition", "users", "tres")

    @property
    def flags(self):
        return _Flags(self.values["flags"])

    def create(self):
        _journal("create_reservation", self.key, self.values)

    def modify(self, changes):
        _journal("modify_reservation", self.key, changes.values)
        self._look()

    def delete(self):
        _journal("delete_reservation", self.key)
        self._look()

    def _look(self):
        if self.key not in [values["name"] for values in _SCENARIO.get("reservations", [])]:
            raise RPCError(2053, "Requested reservation is invalid")


class _Flags(Flag):
    MAINTENANCE = 1
    IGNORE_RUNNING_JOBS = 2


def _load(kind, scenario):
    def load():
        _behave(f"load_{scenario}")
        count = _SCENARIO.get("repeat", {}).get(scenario, 1)
        return {(n, i): kind(**v) for n in range(count) for i, v in enumerate(_SCENARIO.get(scenario, []))}

    return load


Nodes = SimpleNamespace(load=_load(Node, "nodes"))
Jobs = SimpleNamespace(load=_load(Job, "jobs"))
Reservations = SimpleNamespace(load=_load(Reservation, "reservations"))


def _config():
    _behave("config")
    upgraded = _HERE / "upgraded"
    version = upgraded.read_text() if upgraded.exists() else _SCENARIO.get("controller", "25.11.8")
    return SimpleNamespace(version=version)


slurmctld = SimpleNamespace(Config=SimpleNamespace(load=_config))
for _name in _SCENARIO.get("without", []):
    delattr(Job, _name)
_behave("import")

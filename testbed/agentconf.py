"""The agent.conf of a test bed: the product's settings, with intervals short enough to watch."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

from testbed.bedfile import BedFile
from testbed.pki import write_file

_TEXT = """\
# Written by the test bed. Intervals are those of a demonstration: {speed:g} simulated seconds pass in one.

[cloudlab]
certificate = {user_pem}
passphrase_file = {passphrase_file}
ca_bundle = {ca_bundle}
sa_url = {sa_url}
slice = "elastic"
retry_for = "10s"
{cms}

[callback]
listen = {callback_host}
port = {callback_port}
certificate = {callback_cert}
key = {callback_key}
ca_bundle = {callback_ca}
allowed_urns = {callback_urns}

[ssh]
user = "root"
key = {ssh_key}
known_hosts = {known_hosts}
connect_timeout = "5s"

[request]
node_prefix = "node"

[lease]
duration = "10m"
renew_when_left = "9m"
empty_before = "1m"

[demand]
node_cpus = 2
max_nodes = 3
grow_after = "1s"
idle_timeout = "25s"
min_hold = "25s"

{slurm}

[drain]
tick = "1s"
requeue_lead = "25s"
kill_lead = "15s"
cleanup_lead = "10s"
notice_interval = "2s"

[join]
{join}
retry_interval = "10s"

[cycle]
retry_interval = "2s"
withdrawn_grace = "30s"
type_backoff = "20s"
{intervals}

[admin]
socket = {socket}

[metrics]
port = 0

[ledger]
path = {ledger}
"""

_INTERVALS = {
    "ensure_slice": 5,
    "ensure_sliver": 5,
    "update_sliver_status": 2,
    "renew": 5,
    "update_all": 60,
    "update_available": 10,
    "get_system_state": 1,
    "add_nodes": 2,
    "join_nodes": 1,
    "delete_nodes": 2,
    "remove_nodes": 2,
    "set_system_state": 1,
}


def write_agent_conf(bed: BedFile) -> Path:
    """Write ``agent/agent.conf`` into the test bed's directory; return its path."""
    home = bed.directory / "agent"
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    callback = urlsplit(bed.callback_url or "https://127.0.0.1:0")
    text = _TEXT.format(
        speed=bed.speed,
        user_pem=_toml(bed.user_pem),
        passphrase_file=_toml(bed.passphrase_file),
        ca_bundle=_toml(bed.ca_bundle),
        sa_url=_toml(bed.sa_url),
        cms="\n".join(f"\n[[cloudlab.cms]]\nurn = {_toml(cm.urn)}\nurl = {_toml(cm.url)}" for cm in bed.cms),
        callback_host=_toml(callback.hostname),
        callback_port=callback.port,
        callback_cert=_toml(bed.callback.cert),
        callback_key=_toml(bed.callback.key),
        callback_ca=_toml(bed.callback.ca),
        callback_urns=json.dumps(list(bed.callback.urns)),
        ssh_key=_toml(bed.ssh_key),
        known_hosts=_toml(home / "known_hosts"),
        slurm=_slurm(bed),
        join=_join(bed.slurm_conf),
        intervals="\n".join(f"{step} = {seconds}" for step, seconds in _INTERVALS.items()),
        socket=_toml(home / "admin.sock"),
        ledger=_toml(home / "ledger.db"),
    )
    path = home / "agent.conf"
    write_file(path, text.encode(), secret=True)
    return path


def _slurm(bed: BedFile) -> str:
    places = {"conf": bed.slurm_conf, "bin_dir": bed.slurm_bin_dir}
    lines = [f"{key} = {_toml(place)}" for key, place in places.items() if place]
    return "\n".join(["[slurm]", *lines]) if lines else ""


def _join(slurm_conf: Path | None) -> str:
    if slurm_conf is None:
        return ""
    stop = "pkill -x slurmd; while pgrep -x slurmd >/dev/null; do sleep 0.1; done"
    start = f'SLURM_CONF={slurm_conf} slurmd -Z -N {{node_name}} --conf "CPUs=2 Feature=cloudlab"'
    return (
        f"commands = {json.dumps([stop, start])}\n"
        f"leave_commands = {json.dumps([stop, 'echo left > /var/spool/slurmd/farewell'])}"
    )


def _toml(value: object) -> str:
    return json.dumps(str(value))

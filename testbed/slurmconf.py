"""slurm.conf(5) of the test bed."""

from __future__ import annotations

from pathlib import Path

_MAX_NODES = 254

# Unlike Slurm's defaults for the sake of speed: bf_interval, sched_min_interval, KillWait, SlurmdTimeout, and
# cred_expire, which holds a requeued job back for its length plus one second. No bf_continue: with it
# slurmctld 22.05.8 crashes sooner when nodes come and go.
_SLURM_CONF = """\
ClusterName=testbed
SlurmctldHost={host}({address})
{backup}SlurmctldPort={slurmctld_port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=15
StateSaveLocation={directory}/state
SlurmctldPidFile={directory}/slurmctld.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdPidFile=/run/slurmd.pid
SlurmdSpoolDir=/var/spool/slurmd
SlurmdLogFile={directory}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=5,sched_min_interval=0
ReturnToService=2
SlurmdTimeout=30
KillWait=5
MinJobAge=300
MaxNodeCount={max_nodes}
TreeWidth=65533
NodeName={node} NodeAddr={node_address} CPUs=2 Weight=0
PartitionName=main Nodes=ALL Default=YES
"""

_BACKUP = """\
SlurmctldHost={name}({address})
SlurmctldTimeout=10
"""


def slurm_conf(
    directory: Path,
    *,
    head: tuple[str, str],
    ports: tuple[int, int],
    node: tuple[str, str],
    backup: tuple[str, str] | None,
) -> str:
    """Write the settings of a cluster.

    Args:
        directory: of all its files.
        head: name and address of slurmctld's machine.
        ports: TCP ports of slurmctld, and of slurmd on every machine.
        node: name and address of the permanent node.
        backup: name and address of the second slurmctld's machine; None for no second one.
    """
    return _SLURM_CONF.format(
        host=head[0],
        address=head[1],
        backup=_BACKUP.format(name=backup[0], address=backup[1]) if backup else "",
        slurmctld_port=ports[0],
        slurmd_port=ports[1],
        directory=directory,
        max_nodes=_MAX_NODES,
        node=node[0],
        node_address=node[1],
    )

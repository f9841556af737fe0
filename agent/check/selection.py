"""What of Slurm's way to choose nodes the estimate of demand leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.check.finding import Finding, fine, warning
from agent.cluster.settings.join import JoinSettings

_MEND = "see docs/demand.md; with [join] power_nodes Slurm itself says what it wants"
_DEFAULT = frozenset({"", "(null)", "none", "NONE", "N/A"})
_KNOWN = ("select/cons_tres", "select/cons_res", "select/linear")
_SPREADING = ("CR_LLN", "CR_PACK_NODES")
"""Parameters that choose among nodes that are there."""


def check_selection(config: Mapping[str, str], join: JoinSettings) -> Iterator[Finding]:
    """Tell what in slurm.conf makes Slurm choose in a way that demand does not follow.

    Args:
        config: what slurm.conf has in force.
        join: how machines join; where Slurm's power saving decides nothing is estimated.
    """
    subject = "demand"
    if join.power_nodes:
        return
    found = tuple(_left_out(config))
    for what in found:
        yield warning(subject, f"{what}: the estimate of what the queue wants does not follow that", _MEND)
    if not found:
        yield fine(subject, "Slurm chooses nodes in a way that the estimate follows")


def _left_out(config: Mapping[str, str]) -> Iterator[str]:
    select = config.get("SelectType", "")
    parameters = config.get("SelectTypeParameters", "").upper().split(",")
    if select and select not in _KNOWN:
        yield f"SelectType={select}"
    if "CR_MEMORY" in parameters and select != "select/linear":
        yield "SelectTypeParameters=CR_Memory"
    yield from (f"SelectTypeParameters={word}" for word in _SPREADING if word in parameters)
    topology = config.get("TopologyPlugin", "").removeprefix("topology/")
    if topology not in _DEFAULT | {"default", "flat"}:
        yield f"TopologyPlugin=topology/{topology}"
    preempt = config.get("PreemptType", "").removeprefix("preempt/")
    if preempt not in _DEFAULT:
        yield f"PreemptType=preempt/{preempt}"
    mcs = config.get("MCSPlugin", "").removeprefix("mcs/")
    if mcs not in _DEFAULT:
        yield f"MCSPlugin=mcs/{mcs}"

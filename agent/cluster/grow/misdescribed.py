"""Where [demand] says something else of a type of machine than what Slurm saw of it: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from agent.cluster.grow.shapes import came_of
from agent.cluster.settings.demand import DemandSettings, Offer
from agent.cluster.shape import MachineShape
from agent.slurm.gres import offered_gres


def differences(
    settings: DemandSettings, known: Mapping[str, MachineShape], held: Collection[str] = ()
) -> Iterator[tuple[str, str]]:
    """Yield (type, words) for each type of which [demand] says what is not so; "" is the only type.

    What [demand] leaves out is no difference: it is asked for the first time alone.

    Args:
        settings: what is said.
        known: hardware type -> what Slurm saw of it.
        held: the hardware types of the machines that are there.
    """
    for offer in settings.offers():
        came = came_of(offer, known, held)
        found = [] if came is None else list(_differences(offer, came))
        if found:
            said, seen = (", ".join(words) for words in zip(*found, strict=True))
            kind = f" of type {offer.type}" if offer.type else ""
            yield (
                offer.type,
                f"[demand] says that a machine{kind} has {said}; what came has {seen}: plans go by that",
            )


def _differences(offer: Offer, came: MachineShape) -> Iterator[tuple[str, str]]:
    """Yield what is said, and what was seen."""
    said, seen = offer.layout, came.layout
    numbers = [
        ("CPUs", offer.cpus if offer.cpus > 1 else 0, came.cpus),
        ("sockets", said.sockets, seen.sockets),
        ("cores per socket", said.cores, seen.cores),
        ("threads per core", said.threads, seen.threads),
        ("CPUs for jobs", said.usable_cpus, seen.usable_cpus or came.cpus),
        ("MB of memory", offer.memory or 0, came.memory),
        ("MB of it for the system", said.system_memory, seen.system_memory),
        ("MB of temporary disk", said.tmp_disk, seen.tmp_disk),
    ]
    for what, told, found in numbers:
        if told and told != found:
            yield f"{told} {what}", f"{found}"
    if offer.gres and offered_gres(offer.gres) != offered_gres(came.gres):
        yield offer.gres, came.gres or "no generic resources"
    if missing := offer.features - came.features:
        yield f"feature {','.join(sorted(missing))}", "not that feature" if len(missing) == 1 else "not those"

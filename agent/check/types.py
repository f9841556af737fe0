"""Whether machines are what [demand] says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.check.finding import Finding, fine, warning
from agent.cluster.grow.misdescribed import differences
from agent.cluster.grow.shapes import came_of
from agent.cluster.settings.demand import DemandSettings
from agent.cluster.shape import MachineShape


def check_types(settings: DemandSettings, known: Mapping[str, MachineShape]) -> Iterator[Finding]:
    """Warn of each type of which the machines that came are something else; silent before any has come.

    Args:
        settings: what is said.
        known: hardware type -> what Slurm saw of it, as the ledger has it.
    """
    found = list(differences(settings, known))
    for kind, words in found:
        place = "[[demand.types]]" if kind else "[demand]"
        yield warning(f"type {kind}" if kind else "machines", words, f"correct it in {place}, or leave it so")
    if not found and any(came_of(offer, known) for offer in settings.offers()):
        yield fine("types of machines", "what came is what [demand] says")

"""Whether the settings let half of a slice's machines be idle for longer than its site takes."""

from __future__ import annotations

from agent.check.finding import Finding, fine, warning
from agent.cluster.settings.cluster import ClusterSettings
from agent.cluster.shrink.idle_limit import what_breaks_it


def check_idle(settings: ClusterSettings) -> Finding:
    """Warn of what may lead to a mail, and later to renewals that are refused for good."""
    if found := what_breaks_it(settings):
        return warning(
            "idle machines",
            f"{'; '.join(found)}: a site may stop renewing a slice half of which is idle for 3 h",
            "set [demand] idle_limit below 3h, and the others too, where the site looks at idle machines",
        )
    return fine("idle machines", "they go back before their site finds half of them idle for too long")

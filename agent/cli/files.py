"""The files that come with the program, wherever the way that it was installed has put them."""

from __future__ import annotations

from pathlib import Path

PLACES = {
    "settings": (
        "agent.conf.example",
        "share/esagent/agent.conf.example",
        "share/doc/esagent/agent.conf.example",
    ),
    "unit": (
        "contrib/systemd/esagent.service",
        "share/esagent/systemd/esagent.service",
        "lib/systemd/system/esagent.service",
    ),
    "alerts": (
        "contrib/prometheus/esagent.rules.yml",
        "share/esagent/prometheus/esagent.rules.yml",
    ),
    "dashboard": ("contrib/grafana/esagent.json", "share/esagent/grafana/esagent.json"),
    "slurm-plugin": ("contrib/slurm-plugin", "share/esagent/slurm-plugin"),
    "profile": ("contrib/cloudlab-profile", "share/esagent/cloudlab-profile"),
    "geni-lib": ("contrib/geni-lib", "share/esagent/geni-lib"),
    "esagent(1)": ("docs/man/esagent.1", "share/man/man1/esagent.1", "share/man/man1/esagent.1.gz"),
    "agent.conf(5)": (
        "docs/man/agent.conf.5",
        "share/man/man5/agent.conf.5",
        "share/man/man5/agent.conf.5.gz",
    ),
    "bash-completion": ("contrib/completion/esagent", "share/bash-completion/completions/esagent"),
}
"""What comes with it -> where it may be: in a clone, under a wheel's prefix, under Debian's."""


def find(code: Path) -> dict[str, Path]:
    """Find the files that came with some code.

    Args:
        code: a file of the package, as it was installed.

    Returns:
        What there is -> its path, under the nearest directory above the code that has any of it.

    Raises:
        FileNotFoundError: none has; the root of all directories does not count.
    """
    for root in code.parents[:-1]:
        found = {
            what: root / place
            for what, places in PLACES.items()
            for place in places
            if (root / place).exists()
        }
        if found:
            return found
    raise FileNotFoundError(
        f"what comes with esagent is in no directory above {code}: install it as a wheel or as "
        "Debian's package, or run it from a clone"
    )

"""Prints docs/metrics.md: ``.venv/bin/python tools/metrics_doc.py > docs/metrics.md``."""

from __future__ import annotations

import sys

from agent.tell.figures import FIGURES, LABELS, Figure

HEAD = """\
# Metrics

<!-- Made by tools/metrics_doc.py from agent/tell/figures.py: change it there. -->

The daemon serves these figures for Prometheus at `http://127.0.0.1:9815/metrics`; `[metrics]` of agent.conf
moves it. A scrape reads the agent's memory and costs nothing outside.
`contrib/prometheus/esagent.rules.yml` has alert rules, each explained in the
[runbook](runbook.md), and `contrib/grafana/esagent.json` a dashboard.

```yaml
scrape_configs:
  - job_name: esagent
    static_configs: [{targets: ["127.0.0.1:9815"]}]
```

Names and labels change only with a line in the changelog. Labels have values from closed sets, but for
`node` and `cm`: those have series only while there is such a machine or CM, so that the number of series is
bounded by what is held now. Counters whose labels are known beforehand begin at 0.
"""


def main() -> None:
    """Print the document."""
    print(HEAD)
    for figure in FIGURES:
        print("\n".join(_chapter(figure)), end="\n\n")
    print("## Labels\n\n| label | values |\n|---|---|")
    for label, values in LABELS.items():
        print(f"| `{label}` | {values} |")


def _chapter(figure: Figure) -> list[str]:
    lines = [f"## {figure.name}", "", f"{figure.kind.value.capitalize()}. {figure.meaning}"]
    if figure.labels:
        lines += ["", f"Labels: {', '.join(f'`{label}`' for label in figure.labels)}."]
    if figure.buckets:
        lines += ["", f"Buckets: {', '.join(f'{limit:g}' for limit in figure.buckets)}."]
    return lines


if __name__ == "__main__":
    sys.exit(main())

"""Hatchling, as pip asks it for a wheel (PEP 517); but an older Python is told where to find a newer one.

pip itself would say no more than that 3.10 is not in ">=3.11". This file has to be read by that Python.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - what this file is for
    here = "{} is {}.{}".format(sys.executable, *sys.version_info[:2])
    sys.exit(
        f"esagent needs Python 3.11 or newer, and {here}. Debian 12 and Ubuntu 24.04 have a newer one as "
        "python3, Rocky and Alma 9 after `dnf install python3.12`: make the venv with that one, as in "
        "`python3.12 -m venv /opt/esagent`. docs/install.md has a chapter on other systems."
    )

from hatchling.build import *  # noqa: F403

"""The command line is tested against the rig of the local API that it calls."""

from tests.unit.admin.conftest import rig

__all__ = ["rig"]

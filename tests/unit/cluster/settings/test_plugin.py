"""What the parts in Slurm are told."""

import pytest
from pydantic import ValidationError

from agent.cluster.settings.plugin import PluginSettings


def test_a_dead_man_switch_without_its_file_is_a_fault_of_the_settings() -> None:
    with pytest.raises(ValidationError, match="lease is expected too"):
        PluginSettings(orphan_after=60)

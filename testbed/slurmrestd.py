"""How slurmrestd(8) is started for root, in each release."""

from __future__ import annotations

from testbed.release import Release


def as_root(release: Release) -> tuple[str, ...]:
    """Choose through which command it runs as root, or as SlurmUser, who is root here: it refuses to.

    A newer one does not let that check be switched off. In a user namespace it takes itself and its clients,
    root, for somebody else, and is root all the same for munge and so for slurmctld; a chroot has none.
    """
    if release.number <= (24, 11):
        return ("env", "SLURMRESTD_SECURITY=disable_user_check")
    return ("unshare", "--user", "--map-user=1", "--map-group=1")


def rest_plugins(release: Release) -> tuple[str, ...]:
    """Choose its plugins: with those that it takes unasked, it wants a slurmdbd."""
    if release.number < (23, 11):
        return ("-s", "openapi/v0.0.38")
    return ("-s", "openapi/slurmctld") if release.number < (25, 11) else ()

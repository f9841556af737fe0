"""What the parts of the agent are given, made from the settings: the helper, whose machines are whose."""

from __future__ import annotations

from pathlib import Path

from agent.cluster.settings.cluster import ClusterSettings
from agent.config import RequestSettings, Settings
from agent.core.ownership import Ownership
from agent.core.ports import SliceServer
from agent.core.request.document_helper import DocumentHelper
from agent.core.request.escaping import as_meant
from agent.core.request.helper import SimpleElasticSliceHelper
from agent.core.request.profile import read_rspec, run_profile
from agent.slurm.names import expand


def helper_of(settings: Settings, server: SliceServer | None) -> SimpleElasticSliceHelper:
    """Make the helper that the section [request] describes.

    Args:
        settings: all of agent.conf.
        server: the slice; None to see only whether there is such a helper.

    Raises:
        ConfigError: the request's file or script, or a value of the section, is not fit for it.
    """
    helper, request = _helper_of(settings, server), settings.request
    if request.lans:
        helper.use_lans(request.lans, multiplex=request.multiplex_lans, bandwidth=request.lan_bandwidth)
    return helper


def _helper_of(settings: Settings, server: SliceServer | None) -> SimpleElasticSliceHelper:
    request, prefix = settings.request, settings.request.node_prefix
    if source := request.profile_script or request.rspec_file:
        text, cms = _document(request), [cm.urn for cm in settings.cloudlab.cms]
        return DocumentHelper(text, source, server, node_prefix=prefix, like=request.like, cms=cms)
    return SimpleElasticSliceHelper(
        server=server,
        image_urn=request.image or None,
        nodetype=request.nodetype or None,
        tarballs=list(request.tarballs),
        startup_command=as_meant(request.startup_command) or None,
        node_prefix=prefix,
    )


def _document(request: RequestSettings) -> str:
    if not request.profile_script:
        return read_rspec(Path(request.rspec_file))
    return run_profile(
        Path(request.profile_script),
        python=request.profile_python,
        timeout=request.profile_timeout,
        parameters=request.parameters,
    )


def ownership_of(settings: Settings) -> Ownership:
    """Gather what the settings say of whose machines and whose slice it is."""
    request = settings.request
    return Ownership(
        own=frozenset[str]().union(*map(expand, request.own)),
        never=frozenset[str]().union(*map(expand, request.never)),
        # Slurm asks for machines by these names, and no others are given to it.
        given=settings.join.power_names,
        slice_is=settings.cloudlab.slice_is,
    )


def cluster_settings(settings: Settings) -> ClusterSettings:
    """Gather the settings that the decisions about Slurm obey."""
    return ClusterSettings(
        demand=settings.demand,
        weights=settings.weights,
        drain=settings.drain,
        join=settings.join,
        partitions=settings.slurm.partitions,
        ssh_user=settings.ssh.user,
        plugin=settings.plugin,
    )

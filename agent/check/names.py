"""Every file that the settings name: what the daemon reads, and what it writes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from agent.check.access import Kind, NamedFile
from agent.config import Settings

_PORTAL = "download certificate and key from the Cloudlab portal"
_OPERATORS = "Cloudlab's operators have these CAs"
_CALLBACK = "make certificate and key with openssl, as docs/install.md says"


def files_to_read(settings: Settings) -> Iterator[NamedFile]:
    """List what the daemon reads on this machine."""
    cloudlab, callback, slurm, mail = settings.cloudlab, settings.callback, settings.slurm, settings.mail
    kind = _kind_of(cloudlab.certificate, cloudlab.key)
    yield NamedFile("[cloudlab] certificate", cloudlab.certificate, _PORTAL, kind)
    if cloudlab.key:
        yield NamedFile("[cloudlab] key", cloudlab.key, _PORTAL, "secret")
    if cloudlab.passphrase_file:
        origin = "write the passphrase of the key into its first line"
        yield NamedFile("[cloudlab] passphrase_file", cloudlab.passphrase_file, origin, "secret")
    yield NamedFile("[cloudlab] ca_bundle", cloudlab.ca_bundle, _OPERATORS)
    for path in cloudlab.ssh_keys:
        yield NamedFile("[cloudlab] ssh_keys", path, "put the public half of [ssh] key there")
    kind = _kind_of(callback.certificate, callback.key)
    yield NamedFile("[callback] certificate", callback.certificate, _CALLBACK, kind)
    yield NamedFile("[callback] key", callback.key, _CALLBACK, "secret")
    yield NamedFile("[callback] ca_bundle", callback.ca_bundle, _OPERATORS)
    origin = f"ssh-keygen -t ed25519 -N '' -f {shlex.quote(str(settings.ssh.key))}"
    yield NamedFile("[ssh] key", settings.ssh.key, origin, "secret")
    yield from _of_request(settings)
    if not slurm.host:
        if slurm.conf:
            yield NamedFile("[slurm] conf", slurm.conf, "name the slurm.conf of the cluster, or none")
        if slurm.bin_dir:
            origin = "name the directory of squeue, scontrol, sinfo and scancel, or none"
            yield NamedFile("[slurm] bin_dir", slurm.bin_dir / "scontrol", origin)
    if slurm.rest_token:
        yield NamedFile("[slurm] rest_token", slurm.rest_token, "write what scontrol token prints", "secret")
    if slurm.rest_ca:
        yield NamedFile("[slurm] rest_ca", slurm.rest_ca, "put the CAs of slurmrestd's server there")
    if mail.password_file:
        origin = f"write the password of {mail.user} into its first line"
        yield NamedFile("[mail] password_file", Path(mail.password_file), origin, "secret")
    if mail.ca_file:
        yield NamedFile("[mail] ca_file", Path(mail.ca_file), "put the CAs of the mail server there")
    for file in settings.join.files:
        origin = f"put there what machines are to have as {file.target}"
        yield NamedFile("[join] files", file.source, origin, "copied")


def _kind_of(certificate: Path, key: Path | None) -> Kind:
    """Tell whether a certificate is a secret, as the portal's is: one file with its key in it."""
    return "secret" if key in {None, certificate} else "open"


def _of_request(settings: Settings) -> Iterator[NamedFile]:
    request = settings.request
    if request.rspec_file:
        yield NamedFile("[request] rspec_file", Path(request.rspec_file), "put a request RSpec there")
    if request.profile_script:
        yield NamedFile("[request] profile_script", Path(request.profile_script), "put the script there")
        if "/" in request.profile_python:
            origin = "docs/profiles.md tells how to install geni-lib"
            yield NamedFile("[request] profile_python", Path(request.profile_python), origin)


def files_to_write(settings: Settings) -> Iterator[tuple[str, Path]]:
    """List what the daemon writes, as what it is and its path."""
    yield "ledger", settings.ledger.path
    yield "known_hosts", settings.ssh.known_hosts
    yield "socket", settings.admin.socket
    if settings.plugin.table:
        yield "[plugin] table", settings.plugin.table
    if settings.page.enabled and settings.page.listen.startswith("/"):
        yield "[page] listen", Path(settings.page.listen)

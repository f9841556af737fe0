"""[cloudlab] of agent.conf: who we are to Cloudlab, and where machines are borrowed."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from agent.cloudlab.urn import Urn, check_project, check_slice_name, check_urn
from agent.core.ownership import SliceIs
from agent.core.settings import Duration, Section

_HTTPS = re.compile(r"https://[A-Za-z0-9.\[\]:-]+(?:/[-A-Za-z0-9._~/]*)?")


class CmSettings(Section):
    """A CM that machines may be borrowed from."""

    urn: str = Field(description="the CM's URN, such as urn:publicid:IDN+utah.cloudlab.us+authority+cm")
    url: str = Field(description="where its API 2.0 is called: https://HOST:12369/protogeni/xmlrpc/cm/2.0")

    @field_validator("urn")
    @classmethod
    def _is_authority(cls, urn: str) -> str:
        return check_urn(urn, "authority")

    @field_validator("url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        return check_url(url)


class CloudlabSettings(Section):
    """Who we are to Cloudlab, and where machines are borrowed."""

    certificate: Path = Field(description="PEM file with the user's certificate, as Cloudlab hands it out")
    key: Path | None = Field(
        None,
        description="PEM file with its private key, when it is not in the same file",
        examples=["/etc/esagent/cloudlab.key"],
    )
    passphrase_file: Path | None = Field(
        None,
        description="file whose first line opens the key; else the variable ESAGENT_PASSPHRASE does",
        examples=["/etc/esagent/passphrase"],
    )
    ca_bundle: Path = Field(description="PEM file with the CAs that the SA's and the CMs' servers chain to")
    sa_url: str = Field("", description='where the SA is called; "" takes it from the certificate')
    project: str = Field("", description='project that the slice is in; "" is none')
    slice: str = Field(description="name of the slice: 2 to 19 letters, digits and inner hyphens")
    slice_is: SliceIs | None = Field(
        None,
        description='whose the slice is: "ours", the agent\'s alone, or "shared" with others; unset: found'
        " out, and while it is not known no sliver is given back as a whole",
        examples=["shared"],
    )
    cms: tuple[CmSettings, ...] = Field(
        min_length=1, description="CMs to borrow from, the preferred one first"
    )
    check_hostname: bool = Field(True, description="whether a server's certificate must name its host")
    tls_security_level: int = Field(
        2, ge=0, le=5, description="OpenSSL's security level; old 1024-bit keys need 1, SHA-1 signatures 0"
    )
    connect_timeout: Duration = Field(10.0, gt=0, le=300, description="time limit for a connection to stand")
    read_timeout: Duration = Field(600.0, gt=0, le=3600, description="time limit for a whole reply")
    retry_for: Duration = Field(
        30.0, ge=0, le=3600, description="how long a call is repeated while a server is busy or unreachable"
    )
    ssh_keys: tuple[Path, ...] = Field(
        (),
        description="SSH public keys to put on new machines besides those that Cloudlab keeps of the user,"
        " where the agent makes the sliver; a machine that is added to another's has that one's keys",
    )

    @field_validator("slice")
    @classmethod
    def _is_slice_name(cls, name: str) -> str:
        return check_slice_name(name)

    @field_validator("project")
    @classmethod
    def _is_project(cls, name: str) -> str:
        return check_project(name) if name else name

    @field_validator("sa_url")
    @classmethod
    def _is_url(cls, url: str) -> str:
        return check_url(url) if url else url

    @model_validator(mode="after")
    def _each_cm_once(self) -> CloudlabSettings:
        urns = [Urn.parse(cm.urn) for cm in self.cms]
        if len(set(urns)) < len(urns):
            raise ValueError("cms: a CM is there twice")
        return self


def check_url(url: str) -> str:
    """Return the URL of an SA or a CM as it stands.

    Raises:
        ValueError: it is none that can be called.
    """
    if not _HTTPS.fullmatch(url):
        raise ValueError("expected a URL such as https://www.example.net:12369/protogeni/xmlrpc/cm/2.0")
    return url

"""The commands of ``python -m testbed``."""

from __future__ import annotations

import json
import logging
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

from testbed import administering, hands, people
from testbed.bedfile import NAME as BED_NAME
from testbed.bedfile import BedFile, write_bed_file
from testbed.cloudlab.identities import UserCertificates
from testbed.cloudlab.journal import NAME as JOURNAL_NAME
from testbed.cloudlab.journal import describe
from testbed.cloudlab.steering.control import SteeringError, ask, is_running
from testbed.release import VARIABLE as SLURM_VARIABLE
from testbed.told import faults_told


class _Steering(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a command; a fault is a sentence."""
        with faults_told("testbed"):
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Steering,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A Cloudlab and a Slurm cluster on one machine, for demonstrations and tests.",
)
app.add_typer(hands.app)
app.add_typer(people.app)
app.add_typer(administering.app)

Directory = Annotated[
    Path, typer.Option("--dir", help="Where the test bed keeps its files.", envvar="TESTBED_DIR")
]
Speed = Annotated[float, typer.Option(help="Simulated seconds of machine life per real second.")]
_DEFAULT = Path("build/testbed")


@app.command()
def up(
    directory: Directory = _DEFAULT,
    speed: Speed = 60.0,
    slurm: Annotated[
        Path | None,
        typer.Option(
            help="Another release of Slurm: a tree made by tools/setup-release, or a prefix.",
            envvar=SLURM_VARIABLE,
        ),
    ] = None,
) -> None:
    """Start machines, Slurm and the simulated Cloudlab; run until SIGTERM. Needs root."""
    from testbed.up import run

    run(directory, speed=speed, slurm=slurm)


@app.command()
def cloudlab(
    directory: Directory = _DEFAULT,
    speed: Speed = 60.0,
    bind: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    callback_url: Annotated[
        str, typer.Option(help="Where the agent takes callbacks; by default a free port of this machine.")
    ] = "",
    certificate_days: Annotated[
        float | None, typer.Option(help="How long user certificates last; 0 or less: they have expired.")
    ] = None,
    certificates: Annotated[
        UserCertificates, typer.Option(help="How user certificates are made: as today, in 2021 or in 2016.")
    ] = UserCertificates.TODAY,
) -> None:
    """Start the simulated Cloudlab alone, with machines on paper; run until SIGTERM. Needs no root."""
    from testbed.agentconf import write_agent_conf
    from testbed.cloudlab import SimulatedCloudlab

    log = directory.resolve() / "cloudlab.log"
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    simulator = SimulatedCloudlab(
        directory,
        speed=speed,
        bind=bind,
        callback_url=callback_url or f"https://127.0.0.1:{_free_port()}/",
        certificate_life=None if certificate_days is None else timedelta(days=certificate_days),
        user_certificates=certificates,
    )
    simulator.start()
    logging.basicConfig(filename=log, level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        bed = replace(simulator.bed_file(), log=log)
        bed = replace(bed, agent_conf=write_agent_conf(bed))
        write_bed_file(bed)
        _explain(bed)
        stop.wait()
    finally:
        (simulator.directory / BED_NAME).unlink(missing_ok=True)
        simulator.stop()


@app.command()
def revoke(
    nodes: Annotated[list[str], typer.Argument(help="Machines, such as pc100.")],
    seconds: Annotated[float, typer.Option("--in", help="Real seconds until they are taken; 0 is at once.")],
    directory: Directory = _DEFAULT,
) -> None:
    """Take machines back: announce it to the agent, count down, take them."""
    ask(directory, {"do": "revoke", "nodes": nodes, "seconds": seconds})
    typer.echo(f"{' '.join(nodes)}: taken in {seconds:g} s")


@app.command()
def withdraw(node: Annotated[str, typer.Argument()], directory: Directory = _DEFAULT) -> None:
    """Stop the countdown of a machine."""
    ask(directory, {"do": "withdraw", "node": node})
    typer.echo(f"{node}: not taken")


@app.command()
def value(
    node: Annotated[str, typer.Argument()],
    wanted: Annotated[float, typer.Argument(metavar="VALUE", help="0 to 1: how much Cloudlab wants it.")],
    directory: Directory = _DEFAULT,
) -> None:
    """Set the resource value of a machine and push it to the agent."""
    ask(directory, {"do": "value", "node": node, "value": wanted})
    typer.echo(f"{node}: resource value {wanted:g}")


@app.command()
def callbacks(
    cm: Annotated[str, typer.Argument(help="The domain of a CM.")],
    on: Annotated[bool, typer.Option("--on/--off", help="Whether it calls.")] = False,
    directory: Directory = _DEFAULT,
) -> None:
    """Let a CM call the agent no more, or again: no public server does."""
    ask(directory, {"do": "callbacks", "at": cm, "on": on})
    typer.echo(f"{cm}: callbacks are {'on' if on else 'off'}")


@app.command()
def fault(
    place: Annotated[
        str, typer.Argument(help="A method; or a machine, or the domain of a CM; or * for all.")
    ],
    kind: Annotated[str, typer.Argument(help="What goes wrong, such as busy; a wrong word lists them all.")],
    times: Annotated[int, typer.Option(help="How often it strikes.")] = 1,
    at: Annotated[str, typer.Option(help="Only there: sa, or the domain of a CM.")] = "",
    seconds: Annotated[float, typer.Option(help="Real seconds that a slow reply, or silence, takes.")] = 5.0,
    directory: Directory = _DEFAULT,
) -> None:
    """Let something go wrong, so many times."""
    command = {"do": "fault", "place": place, "kind": kind, "times": times, "at": at, "seconds": seconds}
    ask(directory, command)
    typer.echo(f"{place}: {kind}, {times} to come")


@app.command()
def faults(
    directory: Directory = _DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List the faults that will still strike."""
    found = ask(directory, {"do": "faults"})
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for each in found:
        where = f" at {each['at']}" if each["at"] else ""
        typer.echo(f"{each['place']}: {each['kind']}, {each['left']} to come{where}")


@app.command("clear-faults")
def clear_faults(directory: Directory = _DEFAULT) -> None:
    """Switch all faults off; locks that were left held stay so."""
    typer.echo(f"faults cleared: {ask(directory, {'do': 'clear-faults'})}")


@app.command()
def unlock(directory: Directory = _DEFAULT) -> None:
    """Free the slice locks that a fault left held."""
    freed = ask(directory, {"do": "unlock"})
    typer.echo("\n".join(f"freed {name}" for name in freed) or "no lock was left held")


@app.command()
def machines(
    directory: Directory = _DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False,
) -> None:
    """List all machines as they are now."""
    found = ask(directory, {"do": "machines"})
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    table = Table("machine", "type", "state", "address", "client_id", "slice", "value", "taken at", box=None)
    columns = ("name", "type", "state", "address", "client_id", "slice_urn", "value")
    for machine in found:
        deadline = machine["deadline"]
        taken_at = f"{datetime.fromisoformat(deadline):%Y-%m-%dT%H:%M:%SZ}" if deadline else ""
        table.add_row(*(str(machine[name]) for name in columns), taken_at)
    console = Console()
    if not console.is_terminal:
        # Without a terminal there is no width to fit in, and a program wants whole words.
        console.width = console.measure(table, options=console.options.update(max_width=10_000)).maximum
    console.print(table)


@app.command()
def journal(
    directory: Directory = _DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="The entries as they are in the file.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the test bed ends.")] = False,
) -> None:
    """Print what happened, also of a test bed that has ended."""
    path = directory / JOURNAL_NAME
    if not path.exists():
        raise SteeringError(f"{path} is missing: no test bed has been started in {directory}")
    for line in _lines(path, directory if follow else None):
        typer.echo(line.rstrip("\n") if as_json else describe(json.loads(line)))


def _lines(path: Path, follow: Path | None) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        part = ""
        while True:
            alive = follow is not None and is_running(follow)
            while chunk := file.readline():
                part += chunk
                if part.endswith("\n"):
                    yield part
                    part = ""
            if not alive:
                return
            time.sleep(0.2)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _explain(bed: BedFile) -> None:
    cms = "\n".join(f"  CM        {cm.url}  ({cm.urn})" for cm in bed.cms)
    here = Path.cwd()
    near = bed.directory.is_relative_to(here)
    option = f"--dir {bed.directory.relative_to(here) if near else bed.directory}"
    typer.echo(
        f"""The simulated Cloudlab runs, {bed.speed:g} simulated seconds a second; Ctrl-C ends it.

  SA        {bed.sa_url}
{cms}
  CA        {bed.ca_bundle}
  user      {bed.user_urn}
            {bed.user_pem} (passphrase in {bed.passphrase_file})
            {bed.user_cert} with {bed.user_key} (no passphrase)
  agent     esagent run --config {bed.agent_conf}
            takes callbacks at {bed.callback_url}
  for programs: {bed.directory / BED_NAME}

  python -m testbed machines {option}
  python -m testbed value pc100 0.9 {option}
  python -m testbed revoke pc100 --in 120 {option}
  python -m testbed fault AddNodes busy --times 3 {option}
  python -m testbed journal --follow {option}
"""
    )

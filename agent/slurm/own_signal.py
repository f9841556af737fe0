"""The signal that a user asked sbatch for (``--signal``): the job can save, and takes so long for it. Pure.

Slurm tells of no job what was asked for; it is read from the batch script and from the line by which the job
was submitted, by sbatch's own rules (sbatch(1); ``get_signal_opts`` and ``get_argument``). ``SBATCH_SIGNAL``
in the user's environment is told nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from agent.slurm.model import OwnSignal, SignalTarget

_DEFAULT_LEAD = 60
_MOST = 0xFFFF
_SIGNALS = frozenset(
    {
        *(
            "HUP",
            "INT",
            "QUIT",
            "ABRT",
            "KILL",
            "ALRM",
            "TERM",
            "CHLD",
            "USR1",
            "USR2",
            "PIPE",
            "URG",
            "CONT",
        ),
        *("STOP", "TSTP", "TTIN", "TTOU", "XCPU"),
    }
)
"""``signals_mapping``: no other name is taken."""
_NUMBER = re.compile(r"[1-9]\d?", re.ASCII)
_TO_WHOM = re.compile(r"r?(b?)r?:?", re.IGNORECASE)
_SECONDS = re.compile(r"\+?0*(\d{0,5})", re.ASCII)
_SPACE = " \t\n\v\f\r"
_SIGNAL = "signal"
_SHORTEST = 2
"""Letters by which ``--signal`` may be called, as getopt_long(3) takes what is unambiguous."""
_ALONE = frozenset(
    {
        *("async", "bell", "consolidate-segments", "contiguous", "debugger-test", "disable-status", "exact"),
        *("external", "get-user-env", "help", "hold", "ignore-pbs", "interactive", "label", "multi-prog"),
        *("no-allocate", "no-bell", "no-requeue", "no-shell", "overcommit", "oversubscribe", "parsable"),
        *("preserve-env", "quiet", "quit-on-interrupt", "reboot", "share", "spread-job", "spread-segments"),
        *("stepmgr", "test-only", "unbuffered", "use-min-nodes", "usage", "verbose", "version", "wait"),
        *("wait-for-children", "whole", "bcast", "compress", "exclusive", "external-launcher", "immediate"),
        *("kill-command", "kill-on-bad-exit", "oom-kill-step", "nice", "no-kill", "overlap", "propagate"),
        *("pty", "requeue", "resv-ports", "send-libs", "x11"),
    }
)
"""Options that take no word of their own: a value, where they have one, follows ``=`` (``slurm_opt.c``)."""
_LETTERS_ALONE = frozenset("hHOsQvVWXEZlu")
_LETTERS_WITH_REST = frozenset("IKk")
_DIRECTIVES = ("#SBATCH", "#SLURM")
_COMPONENT = re.compile(r"\s*(?:hetjob|packjob)(?:\s|$)", re.IGNORECASE)
_WRAPPED = "# This script was created by sbatch --wrap.\n\n"


def own_signal(script: str, submit_line: str = "") -> OwnSignal | None:
    """Return the signal that a job asked for; None where it asked for none.

    Args:
        script: its batch script; "" for none.
        submit_line: how it was submitted (``SubmitLine``, sacct(1)), which wins; "" where that is not known.
    """
    _, _, wrapped = script.partition(_WRAPPED)
    # Slurm tells the line without the quotes around what is wrapped.
    words = (submit_line.replace(wrapped.rstrip("\n"), "wrapped", 1) if wrapped else submit_line).split()
    asked = _asked_for(words[1:]) or _asked_for(list(_directives(script)))
    return None if asked is None else parse_option(asked)


def parse_option(text: str) -> OwnSignal | None:
    """Read the value of ``--signal``, ``[{R|B|RB}:]SIG[@seconds]``; None where sbatch would refuse it."""
    to = _TO_WHOM.match(text)
    assert to is not None
    word, at, seconds = text[to.end() :].partition("@")
    name = word.strip(_SPACE).upper().removeprefix("SIG")
    lead = _SECONDS.fullmatch(seconds.lstrip(_SPACE))
    if (name not in _SIGNALS and _NUMBER.fullmatch(name) is None) or lead is None:
        return None
    wait = int(lead[1] or 0) if at else _DEFAULT_LEAD
    target = SignalTarget.BATCH if to[1] else SignalTarget.STEPS
    return OwnSignal(name, float(wait), target) if wait <= _MOST else None


def _asked_for(words: list[str]) -> str | None:
    """Return the last value of ``--signal`` among options; they end at the first word that is none."""
    found = None
    left = iter(words)
    for word in left:
        if word == "--" or not word.startswith("-") or word == "-":
            break
        name, has_value, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            if _takes_the_next(word[1:]):
                next(left, None)
        elif len(name) >= _SHORTEST and _SIGNAL.startswith(name):
            found = value if has_value else next(left, found)
        elif not has_value and name not in _ALONE:
            next(left, None)
    return found


def _takes_the_next(letters: str) -> bool:
    """Tell whether the last option of letters such as ``-Hn`` takes the word that follows."""
    for number, letter in enumerate(letters, 1):
        if letter not in _LETTERS_ALONE:
            return letter not in _LETTERS_WITH_REST and number == len(letters)
    return False


def _directives(script: str) -> Iterator[str]:
    """Yield the options in a script's comments, up to its first command; of its first component alone."""
    for line in script.split("\n"):
        mark = next((m for m in _DIRECTIVES if line.startswith(m)), None)
        if mark is None:
            bare = line.lstrip(_SPACE)
            if bare and not bare.startswith("#"):
                return
            continue
        told = line[len(mark) :]
        if _COMPONENT.match(told):
            return
        yield from _words(told)


def _words(line: str) -> Iterator[str]:
    """Take a line of options apart, with sbatch's quotes, backslashes and comments."""
    word: list[str] = []
    quote, escaped = "", False
    for letter in line:
        if escaped:
            word.append(letter)
            escaped = False
        elif letter == "\\":
            escaped = True
        elif quote:
            if letter == quote:
                quote = ""
            else:
                word.append(letter)
        elif letter in "\"'":
            quote = letter
        elif letter == "#":
            break
        elif letter in _SPACE:
            if word:
                yield "".join(word)
                word = []
        else:
            word.append(letter)
    if word:
        yield "".join(word)

"""agent.conf: what is read, what is refused and in which words, and that the example tells the truth."""

import re
import tomllib
from pathlib import Path

import pytest

from agent.config import Settings, example, load
from agent.core.errors import ConfigError

ROOT = Path(__file__).parents[2]
REQUIRED = """
[cloudlab]
certificate = "/etc/esagent/cloudlab.pem"
ca_bundle = "/etc/esagent/ca.pem"
slice = "elastic"

[[cloudlab.cms]]
urn = "urn:publicid:IDN+cluster.example.net+authority+cm"
url = "https://boss.cluster.example.net:12369/protogeni/xmlrpc/cm/2.0"

[callback]
certificate = "/etc/esagent/callback.pem"
key = "/etc/esagent/callback.key"
ca_bundle = "/etc/esagent/callers.pem"
allowed_urns = ["urn:publicid:IDN+cluster.example.net+authority+cm"]

[ssh]
key = "/etc/esagent/id_ed25519"
"""


def settings_of(tmp_path: Path, text: str) -> Settings:
    path = tmp_path / "agent.conf"
    path.write_text(text)
    return load(path)


def fault_of(tmp_path: Path, text: str) -> str:
    with pytest.raises(ConfigError) as error:
        settings_of(tmp_path, text)
    return str(error.value)


def fill_in(text: str) -> str:
    """Do what the example asks its reader to do."""
    wanted = tomllib.loads(REQUIRED)
    section: dict[str, object] = {}
    lines = []
    for line in text.splitlines():
        if match := re.fullmatch(r"\[+([a-z.]+)\]+", line):
            found: object = wanted
            for part in match[1].split("."):
                found = found.get(part, {}) if isinstance(found, dict) else {}
            found = found[0] if isinstance(found, list) else found
            section = found if isinstance(found, dict) else {}
        key = line.partition(" = ")[0]
        if key in section and not line.startswith("#"):
            value = section[key]
            lines.append(f"{key} = {value!r}".replace("'", '"'))
        else:
            lines.append(line)
    return "\n".join(lines)


def test_the_required_settings_are_enough(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, REQUIRED)
    assert settings.cloudlab.slice == "elastic"
    assert settings.drain.requeue_lead == 120


def test_durations_are_numbers_of_seconds_or_have_a_unit(tmp_path: Path) -> None:
    text = REQUIRED + '[drain]\nrequeue_lead = "3m"\nkill_lead = 45\n'
    drain = settings_of(tmp_path, text).drain
    assert (drain.requeue_lead, drain.kill_lead) == (180, 45)


def test_an_unknown_key_is_named_with_its_place_and_the_nearest_known_one(tmp_path: Path) -> None:
    fault = fault_of(tmp_path, REQUIRED + "[drain]\nrequeue_leed = 3\n")
    assert str(tmp_path / "agent.conf") in fault
    assert "[drain] requeue_leed: no such setting; did you mean 'requeue_lead'?" in fault


def test_an_unknown_section_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    assert "[drian]: no such setting; did you mean 'drain'?" in fault_of(tmp_path, REQUIRED + "[drian]\n")


def test_a_wrong_unit_says_what_is_expected(tmp_path: Path) -> None:
    fault = fault_of(tmp_path, REQUIRED + '[drain]\ntick = "3 parsecs"\n')
    assert fault.endswith("[drain] tick: '3 parsecs' is not a duration such as 30s, 10m, 6h or 5d")


def test_every_fault_is_told_not_only_the_first(tmp_path: Path) -> None:
    fault = fault_of(tmp_path, "[drain]\ntick = -1\n")
    assert "[cloudlab]: is required" in fault
    assert "[drain] tick" in fault


def test_an_example_that_is_not_filled_in_names_each_setting_that_is_open(tmp_path: Path) -> None:
    faults = fault_of(tmp_path, example()).splitlines()
    told = sorted(fault.partition(": ")[2] for fault in faults)
    assert told == sorted(
        f"{key}: is required"
        for key in (
            *("[cloudlab] certificate", "[cloudlab] ca_bundle", "[cloudlab] slice"),
            *("[cloudlab.cms] urn", "[cloudlab.cms] url", "[ssh] key"),
            *("[callback] certificate", "[callback] key", "[callback] ca_bundle", "[callback] allowed_urns"),
        )
    )


def test_a_value_that_is_refused_is_told_with_what_was_expected(tmp_path: Path) -> None:
    fault = fault_of(tmp_path, REQUIRED.replace('"elastic"', '"-x"'))
    assert "[cloudlab] slice: '-x' is not a slice name: 2 to 19 letters" in fault


def test_a_fault_inside_a_cm_names_its_table(tmp_path: Path) -> None:
    fault = fault_of(tmp_path, REQUIRED.replace("https://boss", "http://boss"))
    assert "[cloudlab.cms] url" in fault


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[request]\nlans = ["a b"]', "[request]: lans: [-A-Za-z0-9_]{1,32} is expected, not 'a b'"),
        ('[request]\nlans = ["a", "A"]', "[request]: lans: each LAN once is expected, not a, A"),
        ("[request]\nmultiplex_lans = true", "[request]: multiplex_lans and lan_bandwidth: lans is expected"),
        (
            '[request]\nlan_bandwidth = 1000\nrspec_file = "a.xml"',
            "[request]: multiplex_lans and lan_bandwidth come from rspec_file or profile_script",
        ),
        (
            '[request]\nlans = ["a", "b"]\n[join]\naddress = "lan-0"',
            "[join] asks for an address in LAN 'lan-0': expected one of [request] lans: a, b",
        ),
        (
            "[join]\nprobe = ['ping {address:lan-0}']",
            "[join] asks for an address in LAN 'lan-0': expected one of [request] lans: none",
        ),
    ],
)
def test_lans_that_cannot_be_are_told(tmp_path: Path, text: str, fault: str) -> None:
    told = fault_of(tmp_path, f"{REQUIRED}\n{text}\n")
    assert fault in told
    assert "certificate" not in told, "nothing else is shown"


def test_a_name_that_slurm_asks_for_and_that_is_never_ours_is_told(tmp_path: Path) -> None:
    join = 'mode = "cloud"\nnode_name = "client_id"\npower_nodes = "es-[1-9]"'
    told = fault_of(tmp_path, f'{REQUIRED}\n[request]\nnever = ["es-[3-4]"]\n[join]\n{join}\n')
    assert "[join] power_nodes: es-3 is in [request] never too: expected one of the two" in told


def test_the_lans_of_a_document_are_not_known_before_it_is_read(tmp_path: Path) -> None:
    text = '[request]\nrspec_file = "a.xml"\n[join]\naddress = "lan-0"\n'
    assert settings_of(tmp_path, f"{REQUIRED}\n{text}").join.address == "lan-0"


def test_text_that_is_not_toml_names_the_line(tmp_path: Path) -> None:
    assert "line 2" in fault_of(tmp_path, "[cloudlab]\nslice = \n")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.conf"):
        load(tmp_path / "nowhere.conf")


def test_the_example_is_what_the_code_says() -> None:
    assert (ROOT / "agent.conf.example").read_text() == example(), (
        "write it anew: .venv/bin/esagent config example > agent.conf.example"
    )


def test_the_example_validates_once_the_required_settings_are_filled_in(tmp_path: Path) -> None:
    assert settings_of(tmp_path, fill_in(example())) == settings_of(tmp_path, REQUIRED)


def test_every_line_that_the_example_comments_out_shows_the_default(tmp_path: Path) -> None:
    spoken = re.sub(r"(?m)^# ([a-z_]+ = )", r"\1", fill_in(example()))
    files = {"key", "passphrase_file", "conf", "bin_dir", "rest_token", "rest_ca", "table", "lease"}
    unset = files | {"slice_is"}
    shown = settings_of(tmp_path, spoken).model_dump()
    expected = settings_of(tmp_path, REQUIRED).model_dump()
    for name, section in expected.items():
        for key, value in section.items():
            if value is None:
                assert key in unset, f"[{name}] {key} has no default to show"
            else:
                assert shown[name][key] == value, f"[{name}] {key}"


def test_the_example_tells_every_setting_with_a_sentence() -> None:
    lines = example().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"(# )?[a-z_]+ = ", line):
            assert re.match(r"# +\S", lines[number - 1]), f"no sentence above {line!r}"

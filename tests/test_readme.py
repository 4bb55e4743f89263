"""What the README shows works as printed."""

import re
from pathlib import Path

import pytest

from controller.__main__ import main
from controller.settings.load import load_settings
from controller.wiring import policies_of

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FLEET, POLICY = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")]


def test_the_fleet_file_and_the_policy_of_the_readme_are_right(tmp_path, capsys):
    (tmp_path / "policies").mkdir()
    (tmp_path / "fleet.yaml").write_text(FLEET, encoding="utf-8")
    (tmp_path / "policies" / "chat.yaml").write_text(POLICY, encoding="utf-8")
    policy = policies_of(load_settings(tmp_path / "fleet.yaml", {}))["chat"]
    assert (policy.replicas.min_replicas, policy.replicas.max_replicas) == (2, 8)
    assert main(["check", "--fleet", str(tmp_path / "fleet.yaml")]) == 0
    assert "nothing wrong" in capsys.readouterr().out


def test_every_command_of_the_readme_exists(capsys):
    typed = set(re.findall(r"^(?:\.venv/bin/)?pennyweight (\w+)", README, re.MULTILINE))
    assert {"check", "once", "run", "status", "explain", "dashboard"} <= typed
    with pytest.raises(SystemExit):
        main(["--help"])
    known = capsys.readouterr().out
    assert [command for command in typed if f"  {command}" not in known] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert lost == []

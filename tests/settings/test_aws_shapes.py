"""fleet.yaml's blocks about Auto Scaling groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.errors import ConfigError
from controller.facts.actuators import AwsAsgOptions
from controller.facts.fleet import AwsAsgInstances, FileSd
from controller.settings.load import load_settings

FLEET = """\
services:
  chat:
    model: llama-3.1-8b
    variants:
      h100:
        gpu: H100-SXM
        capacity:
          - {{type: on_demand, usd_per_gpu_hour: 2.00}}
        {rest}
"""


def variant(folder: Path, rest: str):
    file = folder / "fleet.yaml"
    file.write_text(FLEET.format(rest=rest))
    (folder / "policies").mkdir(exist_ok=True)
    return load_settings(file, {}).fleet.services["chat"].variants["h100"]


def test_a_group_by_name_needs_nothing_else_and_is_read_from_the_file_that_the_actuator_writes(tmp_path):
    made = variant(tmp_path, "actuator: {aws_asg: {group: vllm-chat}}")
    targets = str(tmp_path / "run" / "chat-h100.targets.json")
    assert made.actuator == "aws_asg"
    assert made.actuator_options == AwsAsgOptions(group="vllm-chat", targets_file=targets)
    assert made.discovery == (FileSd(patterns=(targets,)),)


def test_a_group_by_tags_with_everything_said(tmp_path):
    made = variant(
        tmp_path,
        'actuator: {aws_asg: {tags: {team: red, app: vllm}, region: us-east-1, url: "https://{private_dns}:8443", '
        "health: /ready, launch_hook: warm-up, terminate_hook: drain, protect: false, start_timeout: 20m, "
        "drain_timeout: 5m, directory: state}}",
    )
    assert made.actuator_options == AwsAsgOptions(
        tags=(("app", "vllm"), ("team", "red")),
        region="us-east-1",
        url="https://{private_dns}:8443",
        health_path="/ready",
        launch_hook="warm-up",
        terminate_hook="drain",
        protect=False,
        start_timeout_s=1200.0,
        drain_timeout_s=300.0,
        targets_file=str(tmp_path / "state" / "chat-h100.targets.json"),
    )


def test_a_group_can_be_read_without_being_scaled(tmp_path):
    made = variant(tmp_path, "scrape: {aws_asg: {group: vllm-chat, region: eu-west-1}}")
    assert made.discovery == (AwsAsgInstances(group="vllm-chat", region="eu-west-1"),)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("{}", "expected either group or tags; found neither"),
        ("{group: a, tags: {b: c}}", "expected either group or tags; found both"),
        ('{group: a, url: "http://{private_ipp}:80"}', "unknown placeholder {private_ipp} .*private_ip"),
        ('{group: a, url: "http://10.0.0.1:80"}', "is the same for every instance; expected one of private_ip"),
        ('{group: a, url: "{private_ip}:80"}', "expected http:// or https://"),
        ("{group: a, region: mars}", "region"),
        ("{group: a, launch_hook: 'no spaces'}", "launch_hook"),
        ("{grup: a}", "grup.*group"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path, block, told):
    with pytest.raises(ConfigError, match=rf"fleet\.yaml:9:.*actuator\.aws_asg.*{told}"):
        variant(tmp_path, "actuator: {aws_asg: " + block + "}")


def test_one_group_has_one_variant(tmp_path):
    two = """actuator: {aws_asg: {group: vllm-chat}}
      h100-fp8:
        gpu: H100-SXM
        quantization: fp8
        actuator: {aws_asg: {group: vllm-chat, directory: other}}
        capacity:
          - {type: on_demand, usd_per_gpu_hour: 2.00}"""
    with pytest.raises(ConfigError, match="chat/h100 scales the same group; expected a group of its own"):
        variant(tmp_path, two)

"""The process actuator's options in a fleet file."""

from pathlib import Path

import pytest

from tests.settings.small import process


@pytest.mark.parametrize("part", ['{"method": "ngram"}', "${HOME}/models", "{model}-{replica}", "{}"])
def test_braces_that_are_no_placeholders_are_left_to_the_engine(load, part):
    load(process(f"command: [serve, '{part}', '{{port}}'], ports: 8100-8103"))


def test_two_variants_never_write_one_targets_file(problems, load):
    variant = "gpu: L40S, actuator: {process: {command: [serve, '{port}'], ports: 8100-8103}}"
    text = f"""\
services:
  a-b: {{model: llama-3.1-8b, variants: {{c: {{{variant}}}}}}}
  a: {{model: llama-3.1-8b, variants: {{b-c: {{{variant}}}}}}}
"""
    (problem,) = problems(text)
    assert "writes the same targets file as a-b/c; give it a `directory` of its own" in problem
    apart = text.replace("8100-8103", "8100-8103, directory: other", 1)
    files = {
        one.actuator_options.targets_file
        for service in load(apart).fleet.services.values()
        for one in service.variants.values()
    }
    assert len(files) == 2


def test_a_name_cannot_lead_out_of_the_folder(load, tmp_path):
    text = process("command: [serve, '{port}'], ports: 8100-8103").replace("  chat:", "  ../../chat:")
    options = load(text).fleet.services["../../chat"].variants["l40s"].actuator_options
    assert Path(options.targets_file).resolve().parent == tmp_path / "run"

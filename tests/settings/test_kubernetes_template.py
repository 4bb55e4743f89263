"""``actuator.kubernetes.template``: what an engine is to be started with."""

from tests.settings.small import SCRAPE, SMALL

TARGET = "namespace: llm, deployment: chat"


def kubernetes(inside: str) -> str:
    return SMALL.replace(SCRAPE, f"        actuator: {{kubernetes: {{{TARGET}, {inside}}}}}\n")


def test_a_template_names_what_changes(load):
    text = kubernetes("template: {args: [--max-num-seqs, '64'], env: {A: '1'}, image: 'vllm:2', container: engine}")
    template = load(text).fleet.services["chat"].variants["l40s"].actuator_options.template
    assert (template.args, dict(template.env)) == (("--max-num-seqs", "64"), {"A": "1"})
    assert (template.image, template.container) == ("vllm:2", "engine")


def test_without_a_template_the_target_says_it_all(load):
    assert load(kubernetes("port: 8000")).fleet.services["chat"].variants["l40s"].actuator_options.template is None


def test_a_template_that_changes_nothing_is_a_mistake(problems):
    (problem,) = problems(kubernetes("template: {container: engine}"))
    assert "expected args, env or image" in problem

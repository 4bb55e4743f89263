"""Commands, choices and options that do not exist."""

import pytest


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["chekc"], "chekc: there is no such command; did you mean check?"),
        (["ledger", "verfy"], "verfy: there is no such command; did you mean verify?"),
        (["xyz"], "xyz: there is no such command; there are demo, run, "),
        (["demo", "--engine", "vlm"], "--engine: 'vlm' is none of its choices; did you mean vllm? there are emulated"),
        (["check", "--fleeet", "x.yaml"], "--fleeet: there is no such option; did you mean --fleet?"),
    ],
)
def test_what_does_not_exist_is_told_with_what_was_meant(pennyweight, typed, told):
    said = pennyweight(*typed)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(told)
    assert said.err.endswith("1 problem; nothing was started or changed\n")

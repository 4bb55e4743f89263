"""What the AWS SDK says of itself is not in the daemon's log."""

from __future__ import annotations

import logging

import pytest

from controller.__main__ import main


@pytest.mark.parametrize("more", [[], ["--verbose"]])
@pytest.mark.parametrize("name", ["boto3", "botocore.credentials"])
def test_only_warnings_of_the_sdk_are_logged(caplog, capsys, name, more):
    """It tells at INFO where it found credentials, and at DEBUG every request with what signs it."""
    caplog.set_level(logging.DEBUG)
    for one in ("boto3", "botocore", name):
        logging.getLogger(one).setLevel(logging.NOTSET)  # forgets what was asked before
    assert logging.getLogger(name).isEnabledFor(logging.INFO)
    assert main(["schema", "fleet", *more]) == 0
    assert not logging.getLogger(name).isEnabledFor(logging.INFO)
    assert logging.getLogger(name).isEnabledFor(logging.WARNING)
    assert capsys.readouterr().out

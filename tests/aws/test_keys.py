"""Who we are to AWS, where that goes wrong: it is said, and looked for again."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.aws import clients
from controller.aws.clients import Aws, asked
from controller.errors import AwsError

NOTHING = "<Response><DescribeAutoScalingGroupsResult><AutoScalingGroups/></DescribeAutoScalingGroupsResult></Response>"
REFUSED = "<ErrorResponse><Error><Code>{}</Code><Message>as the test said</Message></Error></ErrorResponse>"


class Account(ThreadingHTTPServer):
    """Answers whoever signs with ``key`` that there is no group, and everybody else that nobody knows him."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), AccountHandler)
        self.key, self.code = "first", "InvalidClientTokenId"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class AccountHandler(BaseHTTPRequestHandler):
    server: Account

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        signed = re.search(r"Credential=([^/]*)/", self.headers["Authorization"])
        known = signed is not None and signed[1] == self.server.key
        body = (NOTHING if known else REFUSED.format(self.server.code)).encode()
        self.send_response(200 if known else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        del arguments


@pytest.fixture
def account() -> Iterator[Account]:
    server = Account()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shared credentials file, the only place where boto3 finds any."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setattr(clients, "AGAIN_S", 0.0)
    return tmp_path / "credentials"


def file_of(key: str) -> str:
    return f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n"


def groups(aws: Aws) -> object:
    return asked(aws.client("autoscaling", "us-east-1").describe_auto_scaling_groups)["AutoScalingGroups"]


@pytest.mark.parametrize("written", [None, "", "[default]\n"])
def test_keys_that_are_not_there_yet_are_looked_for_again(account: Account, keys: Path, written: str | None) -> None:
    if written is not None:
        keys.write_text(written)
    aws = Aws(endpoint_url=account.url)
    with pytest.raises(AwsError, match=r"no credentials were found .*; they are looked for again"):
        groups(aws)
    keys.write_text(file_of("first"))
    assert groups(aws) == []


def test_a_file_of_which_half_is_written_is_read_again(account: Account, keys: Path) -> None:
    keys.write_text("[default]\naws_access_key_id = first\naws_sec")
    aws = Aws(endpoint_url=account.url)
    with pytest.raises(AwsError):
        groups(aws)
    keys.write_text(file_of("first"))
    assert groups(aws) == []


@pytest.mark.parametrize("code", ["InvalidClientTokenId", "ExpiredToken", "AuthFailure", "SignatureDoesNotMatch"])
def test_keys_that_aws_refuses_are_read_again(account: Account, keys: Path, code: str) -> None:
    keys.write_text(file_of("first"))
    aws = Aws(endpoint_url=account.url)
    assert groups(aws) == []
    account.key, account.code = "second", code
    keys.write_text(file_of("second"))
    with pytest.raises(AwsError) as refused:
        groups(aws)
    assert refused.value.code == code
    assert groups(aws) == []


def test_they_are_not_looked_for_in_every_call(account: Account, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "AGAIN_S", 3600.0)
    aws = Aws(endpoint_url=account.url)
    with pytest.raises(AwsError, match="no credentials were found"):
        groups(aws)
    keys.write_text(file_of("first"))
    with pytest.raises(AwsError, match="no credentials were found"):
        groups(aws)


def test_what_may_not_be_done_throws_no_client_away(account: Account, keys: Path) -> None:
    keys.write_text(file_of("nobody"))
    account.code = "AccessDenied"
    aws = Aws(endpoint_url=account.url)
    before = aws.client("autoscaling", "us-east-1")
    with pytest.raises(AwsError):
        groups(aws)
    assert aws.client("autoscaling", "us-east-1") is before

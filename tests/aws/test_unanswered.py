"""What AWS does not answer: by which errors it is known, and that it is told once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from controller.aws.clients import ONCE, Aws, asked, unanswerable
from controller.aws.unanswered import Unanswered
from controller.errors import AwsError

REFUSED = "<ErrorResponse><Error><Code>{}</Code><Message>as the test said</Message></Error></ErrorResponse>"
PAGE = "<!doctype html>\n<html lang=en>\n<title>502 Bad Gateway</title>"


@contextmanager
def answering(status: int, body: str) -> Iterator[str]:
    """A server that answers everything so; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *arguments: object) -> None:
            del arguments

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "code", "final"),
    [
        (403, REFUSED.format("AccessDenied"), "AccessDenied", True),
        (400, REFUSED.format("InvalidAction"), "InvalidAction", True),
        (500, REFUSED.format("InternalFailure"), "InternalFailure", True),
        (500, PAGE, "500", True),
        (502, PAGE.upper(), "502", True),
        (400, REFUSED.format("Throttling"), "Throttling", False),
        (400, REFUSED.format("ValidationError"), "ValidationError", False),
        (200, PAGE, "", False),
    ],
)
def test_what_is_not_to_be_had_is_known_by_its_code_or_by_the_servers_failure(status, body, code, final):
    with answering(status, body) as url:
        aws = Aws(endpoint_url=url, aws_access_key_id="nobody", aws_secret_access_key="nothing")
        client = aws.client("autoscaling", "us-east-1", ONCE)
        with pytest.raises(AwsError) as raised:
            asked(client.describe_instance_refreshes, AutoScalingGroupName="chat")
        client.close()
    assert (raised.value.code, unanswerable(raised.value)) == (code, final)


def test_a_page_for_people_is_no_answer_of_a_call_that_answers_nothing():
    """As a proxy sends it, with a status that says all is well: botocore would call it done, and nothing was."""
    with answering(200, "<html><body>Service Unavailable</body></html>") as url:
        aws = Aws(endpoint_url=url, aws_access_key_id="nobody", aws_secret_access_key="nothing")
        groups, machines = aws.client("autoscaling", "us-east-1", ONCE), aws.client("ec2", "us-east-1", ONCE)
        with pytest.raises(AwsError, match="AWS answered with a page for people"):
            asked(groups.set_desired_capacity, AutoScalingGroupName="chat", DesiredCapacity=2)
        with pytest.raises(AwsError, match="AWS answered with a page for people"):
            asked(machines.describe_instances)
        groups.close(), machines.close()


def test_it_is_told_when_it_begins_and_when_it_is_over(caplog):
    caplog.set_level(logging.INFO)
    unanswered, error = Unanswered(), AwsError("AWS answered: no", code="AccessDenied", status=403)
    for _ in range(3):
        assert unanswered.met("DescribeThis", "chat", error, "that is done without")
    unanswered.answered("DescribeThis")
    unanswered.answered("DescribeThis")
    assert not unanswered.met("DescribeThis", "chat", AwsError("no answer"), "that is done without")
    begun, over = caplog.messages
    assert begun.startswith("chat: DescribeThis is not to be had: AWS answered: no; that is done without")
    assert over == "chat: DescribeThis is answered again"

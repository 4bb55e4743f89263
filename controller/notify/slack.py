"""Slack's incoming webhook: Block Kit messages, its limits and its ways of saying no.

Limits: https://api.slack.com/reference/block-kit/blocks (header 150, section 3,000, ten fields of 2,000 characters);
escaping: https://api.slack.com/reference/surfaces/formatting#escaping; rate: about one message a second a webhook,
then 429 with Retry-After (https://api.slack.com/docs/rate-limits).
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.parse import urlsplit

from controller.errors import NotifyError
from controller.facts.decisions import Alert, AlertPhase
from controller.notify.channel import headline, worded

HEADER_LIMIT = 150
SECTION_LIMIT = 3000
FIELD_LIMIT = 2000
FIELDS_LIMIT = 10
MAX_RETRY_AFTER_S = 60.0
"""A guess: an alert that is later than this is better retried by the next one."""
ANSWER_BYTES = 200
"""Slack's error names ("invalid_blocks", "no_service") are shorter; an HTML page of a proxy is cut."""
TEXT_LIMIT = 3000
"""The fallback text; Slack cuts at 40,000, people stop much earlier."""

SIGN = {"critical": "🔴", "warning": "🟠"}
RESOLVED_SIGN = "✅"
OTHER_SIGN = "🔵"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back from one try. ``status`` 0: no answer at all, ``said`` is why."""

    status: int
    said: str
    retry_after_s: float | None = None

    @property
    def delivered(self) -> bool:
        return 200 <= self.status < 300

    @property
    def may_pass(self) -> bool:
        """Another try may help: no answer, or the server's own trouble."""
        return self.status == 0 or self.status >= 500

    def __str__(self) -> str:
        return f"HTTP {self.status} ({self.said})" if self.status else self.said


@dataclass(frozen=True, slots=True, kw_only=True)
class SlackChannel:
    """Posts alerts to one incoming webhook. The URL is a secret: it is in no repr, log line or error.

    backoff_s   waits before the second, third, ... try after no answer or 5xx; other refusals are final
    """

    url: str = field(repr=False)
    name: str = "slack"
    timeout_s: float = 5.0
    backoff_s: tuple[float, ...] = (1.0, 4.0)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        if not _is_web_address(self.url):
            raise NotifyError(
                f"the webhook of channel {self.name} is not an http(s) address (it is not shown, being a secret); "
                "copy it again from Slack's app page"
            )

    def send(self, alert: Alert) -> None:
        body = json.dumps(message(alert)).encode()
        waits = list(self.backoff_s)
        may_wait_for_429 = True
        tries = 0
        while True:
            tries += 1
            answer = _post(self.url, body, self.timeout_s)
            if answer.delivered:
                return
            if answer.status == 429 and may_wait_for_429:
                may_wait_for_429 = False
                self.sleep(min(answer.retry_after_s or 1.0, MAX_RETRY_AFTER_S))
            elif answer.may_pass and waits:
                self.sleep(waits.pop(0))
            else:
                raise NotifyError(
                    f"{self.name} did not take alert {alert.service}/{alert.name} after {tries} tries: {answer}; "
                    "it is dropped for this channel, and a firing alert is sent again later"
                )


def message(alert: Alert) -> dict[str, object]:
    """The webhook's JSON: a header, the condition and what to do, the numbers as fields, and since when."""
    firing = alert.phase is AlertPhase.FIRING
    sign = SIGN.get(alert.severity, OTHER_SIGN) if firing else RESOLVED_SIGN
    title = f"{sign} {alert.phase.capitalize()}: {alert.service}/{alert.name}"
    said = [f"*{escaped(alert.summary)}*", f"Condition: `{escaped(alert.condition)}`"]
    if firing and alert.do:
        said.append(f"What to do: {escaped(alert.do)}")
    blocks: list[dict[str, object]] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(title, HEADER_LIMIT), "emoji": True}},
        {"type": "section", "text": _markdown("\n".join(said), SECTION_LIMIT)},
    ]
    if alert.numbers:
        fields = [
            _markdown(f"*{escaped(name)}*\n{escaped(worded(name, value))}", FIELD_LIMIT // 2)
            for name, value in list(alert.numbers.items())[:FIELDS_LIMIT]
        ]
        blocks.append({"type": "section", "fields": fields})
    state = f"{alert.severity}, firing" if firing else f"was {alert.severity}, fired"
    since = f"{state} since {alert.since:%Y-%m-%d %H:%M:%S} UTC, sent {alert.at:%H:%M:%S} UTC"
    blocks.append({"type": "context", "elements": [_markdown(escaped(since), FIELD_LIMIT)]})
    return {"text": cut(escaped(f"{sign} {headline(alert)}"), TEXT_LIMIT), "blocks": blocks}


def escaped(text: str) -> str:
    """Slack's three control characters, so that "a < b" stays text and nobody is mentioned by accident."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` characters, without half an escape at its end."""
    if len(text) <= limit:
        return text
    kept = text[: limit - 1]
    start = kept.rfind("&", max(0, len(kept) - len("&amp;") + 1))
    if start >= 0 and ";" not in kept[start:]:
        kept = kept[:start]
    return kept + "…"


def _markdown(text: str, limit: int) -> dict[str, str]:
    return {"type": "mrkdwn", "text": cut(text, limit)}


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A webhook never redirects; following one would send the alert somewhere nobody chose."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        return None


_OPENER = urllib.request.build_opener(_NoRedirects)


def _post(url: str, body: bytes, timeout_s: float) -> Answer:
    """One try. Errors of the HTTP library can carry the URL: only their kind and number get out of here."""
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json; charset=utf-8"})
    try:
        with _OPENER.open(request, timeout=timeout_s) as response:
            return Answer(response.status, "ok")
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, _said(error), _retry_after_s(error.headers.get("Retry-After")))
    except TimeoutError:
        return Answer(0, f"no answer within {timeout_s:g} s")
    except urllib.error.URLError as error:
        return Answer(0, _reason(error.reason, timeout_s))
    except (OSError, HTTPException, ValueError) as error:
        return Answer(0, _reason(error, timeout_s))


def _reason(error: object, timeout_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {timeout_s:g} s"
    if isinstance(error, OSError) and error.strerror:
        return f"no connection: {error.strerror}"
    return f"no answer: {type(error).__name__}"


def _said(error: urllib.error.HTTPError) -> str:
    try:
        text = error.read(ANSWER_BYTES).decode(errors="replace")
    except (OSError, HTTPException):
        return "no body"
    return " ".join(text.split()) or "empty body"


def _retry_after_s(header: str | None) -> float | None:
    """Slack sends whole seconds; anything else counts as not said."""
    return float(header) if header and header.strip().isdigit() else None


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is not a number
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and url.isascii() and not set(url) & set(" \t\r\n")
    )

"""What the sweep must know before it starts: the model, what the server takes, and how many tokens a word is."""

from __future__ import annotations

import json

import aiohttp
import numpy as np

from controller.catalog.load import nearest
from controller.errors import PennyweightError
from controller.profile.client import NO_USAGE, Client, Flight, now_s
from controller.profile.load import Asking
from controller.profile.plan import SweepPlan
from controller.profile.words import TokenScale, prompt

PROBE_WORDS = (8, 72)
"""Prompts to count tokens with. A guess: together below the smallest context that anybody serves."""

PROBE_OUTPUT_TOKENS = 4


async def preflight(client: Client, plan: SweepPlan) -> tuple[Asking, list[str]]:
    """How to ask, and notes. Raises PennyweightError for a server that cannot be measured."""
    model, most_tokens = await _model(client, plan.model)
    flights, ignore_eos = [], True
    for words in PROBE_WORDS:
        flight = await _probe(client, model, words, ignore_eos=ignore_eos)
        if flight.outcome in ("HTTP 400", "HTTP 422") and ignore_eos:
            again = await _probe(client, model, words, ignore_eos=False)
            if again.ok:
                flight, ignore_eos = again, False
        _must_do(client, flight)
        flights.append(flight)
    fewer, more = ((count, one.prompt_tokens) for count, one in zip(PROBE_WORDS, flights, strict=True))
    try:
        scale = TokenScale.between(fewer, more)
    except ValueError as error:
        raise PennyweightError(f"{client.root} counts prompt tokens in a way that makes no sense: {error}") from error
    notes = _lengths(plan, model, most_tokens)
    if not ignore_eos:
        notes.append("the server takes no ignore_eos: answers may end before the wanted length")
    asking = Asking(
        client=client,
        model=model,
        scale=scale,
        ignore_eos=ignore_eos,
        most_tokens=most_tokens,
        timeout_s=plan.timeout_s,
    )
    return asking, notes


def _lengths(plan: SweepPlan, model: str, most_tokens: int | None) -> list[str]:
    """Notes on lengths that the model cannot hold. Raises PennyweightError when even their mean is too long."""
    longest = max((one.prompt_tokens + one.output_tokens for one in plan.points), default=0)
    if most_tokens is None:
        return []
    if longest > most_tokens:
        raise PennyweightError(
            f"prompt and output of {longest:g} tokens together exceed the {most_tokens} that '{model}' is "
            "served with; nothing was measured: ask for shorter ones"
        )
    cut = plan.spread > 0 and 2 * longest > most_tokens
    return [f"lengths are cut where prompt and output would exceed {most_tokens} tokens"] if cut else []


async def _model(client: Client, wanted: str | None) -> tuple[str, int | None]:
    """The model to ask, and the most tokens it is served with, where the server says so."""
    try:
        status, body = await client.get("/v1/models")
    except aiohttp.ClientConnectorSSLError as error:
        plain = client.root.replace("https://", "http://", 1)
        raise PennyweightError(f"{client.root} speaks no TLS: is it {plain}? Nothing was measured") from error
    except aiohttp.ClientConnectorError as error:
        why = error.os_error.strerror or error.os_error
        raise PennyweightError(f"{client.root} cannot be reached: {why}; nothing was measured") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise PennyweightError(f"{client.root} failed: {type(error).__name__}; is it an HTTP address?") from error
    if status in (401, 403):
        raise PennyweightError(_refused(client, status))
    served = _served(body) if status == 200 else {}
    if served is None and wanted is None:
        raise PennyweightError(
            f"{client.root}/v1/models is no list of models: is that an OpenAI-compatible server? Nothing was measured"
        )
    served = served or {}
    if wanted is not None and (wanted in served or not served):
        return wanted, served.get(wanted)
    names = ", ".join(served)
    if wanted is not None:
        close = nearest(wanted, served, 1)
        raise PennyweightError(
            f"{client.root} serves no model '{wanted}', only {names}" + (f"; did you mean {close[0]}?" if close else "")
        )
    if status == 404:
        raise PennyweightError(
            f"{client.root} has no /v1/models (HTTP 404): give the address above /v1, such as http://HOST:PORT; "
            "of a server that lists no models, name one with --model"
        )
    if len(served) != 1:
        said = f"serves {names}: choose one" if served else f"names no model (/v1/models: HTTP {status}): give one"
        raise PennyweightError(f"{client.root} {said} with --model")
    return next(iter(served.items()))


def _served(body: bytes) -> dict[str, int | None] | None:
    """Model names, with vLLM's max_model_len; None where it is something else."""
    try:
        return {str(one["id"]): one.get("max_model_len") for one in json.loads(body)["data"]}
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _refused(client: Client, status: int) -> str:
    if client.has_key:
        return f"{client.root} refuses the key that --api-key-env names (HTTP {status}); nothing was measured"
    return f"{client.root} refuses us (HTTP {status}): name the variable that holds its key with --api-key-env NAME"


async def _probe(client: Client, model: str, words: int, *, ignore_eos: bool) -> Flight:
    flight = Flight(due_s=now_s())
    text = prompt(words, np.random.default_rng(words))
    await client.ask(flight, client.body(model, text, PROBE_OUTPUT_TOKENS, ignore_eos=ignore_eos))
    return flight


def _must_do(client: Client, flight: Flight) -> None:
    """A probe's answer is what the sweep needs."""
    if flight.ok:
        return
    if flight.outcome == NO_USAGE:
        raise PennyweightError(
            f"{client.root} does not count tokens: its stream ends without `usage` although "
            "stream_options.include_usage asks for it. Tokens are not guessed here, so nothing was measured; "
            "a newer server, or the engine behind this proxy, will say"
        )
    if flight.outcome in ("HTTP 401", "HTTP 403"):
        raise PennyweightError(_refused(client, int(flight.outcome.removeprefix("HTTP "))))
    told = f": {flight.detail}" if flight.detail else ""
    raise PennyweightError(f"{client.root} does not answer a first small request: {flight.outcome}{told}")

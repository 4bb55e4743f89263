"""All engine adapters by kind."""

from __future__ import annotations

from collections.abc import Mapping

from controller.facts.fleet import EngineKind
from controller.observe.adapter import Adapter
from controller.observe.sglang import SGLANG
from controller.observe.tgi import TGI
from controller.observe.trtllm import TRTLLM
from controller.observe.vllm import VLLM

ADAPTERS: Mapping[EngineKind, Adapter] = {adapter.engine: adapter for adapter in (VLLM, SGLANG, TGI, TRTLLM)}

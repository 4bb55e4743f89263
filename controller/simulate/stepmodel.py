"""The engines that we have numbers for."""

from __future__ import annotations

from dataclasses import dataclass

from controller.facts.performance import EngineLimits, StepModel


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSpec:
    """One engine: its speed, and the limits that its scheduler keeps.

    kv_capacity_tokens   room for keys and values, tokens
    token_budget         prompt and output tokens computed in one step (vLLM: --max-num-batched-tokens)
    max_sequences        sequences in a batch (vLLM: --max-num-seqs)
    max_model_len        longest prompt + output, tokens
    reserves_output      let a request in only when its whole answer has room too: TensorRT-LLM's default scheduler
                         (GUARANTEED_NO_EVICT); vLLM lets it in with its prompt and preempts when the cache is full
    draft_tokens         tokens that speculation drafts a step and sequence; 0: no speculation
    acceptance_ratio     chance of each drafted token to be kept, given that those before it were
    draft_s              what drafting adds to a step
    """

    model_name: str
    step: StepModel
    kv_capacity_tokens: int
    token_budget: int = 8192
    max_sequences: int = 1024
    max_model_len: int = 32_768
    kv_cache_dtype: str = "auto"
    reserves_output: bool = False
    draft_tokens: int = 0
    acceptance_ratio: float = 0.0
    draft_s: float = 0.0

    @property
    def limits(self) -> EngineLimits:
        return EngineLimits(
            kv_capacity_tokens=self.kv_capacity_tokens,
            token_budget=self.token_budget,
            max_sequences=self.max_sequences,
        )

    def __post_init__(self) -> None:
        if self.kv_capacity_tokens < self.max_model_len:
            raise ValueError(
                f"the KV cache of {self.kv_capacity_tokens} tokens cannot hold one request of "
                f"{self.max_model_len} tokens; vLLM would not start either"
            )
        if self.max_sequences * (1 + self.draft_tokens) >= self.token_budget:
            raise ValueError(f"a budget of {self.token_budget} tokens leaves no prefill beside {self.max_sequences}")


LLAMA_70B_FP8_2XH100 = EngineSpec(
    model_name="meta-llama/Llama-3.1-70B-Instruct",
    step=StepModel(
        base_s=17.0143e-3,
        per_sequence_s=0.0438e-3,
        per_kv_token_s=0.0291e-6,
        per_prefill_token_s=70.924e-6,
        per_prefill_pair_s=0.814e-9,
    ),
    kv_capacity_tokens=411_376,
    kv_cache_dtype="fp8",
)
"""Llama-3.1-70B, FP8 weights and KV cache, on two H100 SXM. Least-squares fit (2.9 % error decoding, 5.9 % prefill) to
NVIDIA AIConfigurator 0.12 (Apache-2.0); within 8 % of NIM's published 70B FP8 figures at 1 to 250 requests at once.
Token budget and sequence limit: vLLM's server defaults for GPUs of 70 to 160 GiB."""

"""A real vLLM process with a small random Llama on the CPU, from its start to its end."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controller.demo import real
from controller.demo.ports import PortPicker

MAX_SEQUENCES, TOKEN_BUDGET, MAX_MODEL_LEN = 16, 512, 2048
FIRST_PORT = 8391
START_S, STOP_S = 300.0, 60.0

SHAPE = {
    "hidden_size": 512,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
}
"""Bigger than the tests' model, so that a step takes 10 to 300 ms: on two cores, what serves HTTP and what asks must
not be busier than what computes."""

ARGUMENTS = (
    *("--load-format", "dummy", "--dtype", "float32", "--enforce-eager", "--no-enable-prefix-caching"),
    *("--max-num-seqs", str(MAX_SEQUENCES), "--max-num-batched-tokens", str(TOKEN_BUDGET)),
    *("--max-model-len", str(MAX_MODEL_LEN), "--enable-prompt-tokens-details", "--enable-mfu-metrics"),
)
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB: 131,072 tokens, which 16 requests never fill
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


@contextmanager
def engine(folder: Path) -> Iterator[tuple[str, int]]:
    """Its address and its process id, once it answers. Its log is in ``folder``."""
    python = real.engine_python(os.environ)
    model = _model(folder, python)
    port = PortPicker().pick(FIRST_PORT, "the engine")
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "small", "--host", "127.0.0.1", "--port", str(port), *ARGUMENTS]
    with (folder / "engine.log").open("ab") as log:
        process = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=log, stderr=subprocess.STDOUT)
        try:
            address = f"http://127.0.0.1:{port}"
            _wait(process, address, folder)
            yield address, process.pid
        finally:
            process.terminate()
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _model(folder: Path, python: Path) -> Path:
    """The tests' tokenizer, one token a byte, and a configuration; vLLM makes random weights of it."""
    model = folder / "model"
    if not model.exists():
        script = Path(real.__file__).with_name("tiny_model.py")
        subprocess.run([python, script, model], check=True, capture_output=True)
        config = model / "config.json"
        values = json.loads(config.read_text(encoding="utf-8"))
        config.write_text(json.dumps(values | SHAPE), encoding="utf-8")
    return model


def _wait(process: subprocess.Popen[bytes], address: str, folder: Path) -> None:
    ends = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < ends:
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError(f"the engine did not start; its log: {folder / 'engine.log'}")

"""fleet.yaml: what it means, and every mistake in it with its place."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.facts.actuators import ProcessOptions, SystemdOptions
from controller.facts.fleet import CapacityType, FileSd, HttpSd, LocalNvml, Mode, PrometheusServer, StaticTargets
from controller.facts.missing import Missing
from controller.facts.performance import StepModel
from controller.facts.profile import Profile, StepFit
from controller.settings.load import json_schema, load_settings, seen_at
from tests.settings.small import SMALL, process

DESIGN = """\
mode: advise
interval: 15s
ledger: sqlite:///pennyweight.db
services:
  chat:
    model: llama-3.1-70b
    variants:
      h100-fp8:
        gpu: H100-80GB-SXM
        gpus_per_replica: 2
        quantization: fp8
        engine: vllm
        scrape: {file_sd: [targets/chat-*.json]}
        dcgm: {static: ["http://10.0.0.5:9400"]}
        actuator: {systemd: {unit: "vllm-chat@{n}.service", numbers: 1-8}}
        capacity:
          - {type: reserved,  replicas: 4, usd_per_gpu_hour: 2.10}
          - {type: on_demand, offer: aws/us-east-1/p5.48xlarge}
          - {type: spot,      offer: aws/us-east-1/p5.48xlarge}
"""


def test_the_fleet_file_of_the_design_means_what_it_says(load, tmp_path):
    settings = load(DESIGN)
    variant = settings.fleet.services["chat"].variants["h100-fp8"]
    assert (settings.mode, settings.interval_s, settings.rate_window_s) == (Mode.ADVISE, 15.0, 60.0)
    assert settings.ledger_url == f"sqlite:///{tmp_path / 'pennyweight.db'}"
    assert (variant.gpu.name, variant.gpus_per_replica, variant.quantization) == ("H100-SXM", 2, "fp8")
    assert variant.discovery == (FileSd(patterns=(str(tmp_path / "targets/chat-*.json"),)),)
    assert variant.gpu_discovery == (StaticTargets(urls=("http://10.0.0.5:9400",)),)
    assert isinstance(variant.actuator_options, SystemdOptions)
    assert variant.actuator_options.numbers == (1, 8)
    assert [(one.type, one.replicas) for one in variant.capacity] == [
        (CapacityType.RESERVED, 4),
        (CapacityType.ON_DEMAND, None),
        (CapacityType.SPOT, None),
    ]


def test_a_small_file_gets_safe_defaults(load):
    settings = load(SMALL)
    variant = settings.fleet.services["chat"].variants["l40s"]
    assert (settings.mode, settings.host, settings.port) == (Mode.ADVISE, "127.0.0.1", 9188)
    assert (variant.actuator, variant.gpus_per_replica, settings.channels) == ("dry_run", 1, ("log",))


def test_every_way_of_finding_targets_can_be_mixed(load):
    text = SMALL.replace(
        'scrape: {static: ["http://10.0.0.5:8000"]}',
        """scrape:
          static: ["http://10.0.0.5:8000"]
          http_sd: [{url: "http://sd/targets", refresh: 30s}]
          prometheus: {url: "http://prom:9090", selector: 'job="chat"'}
        dcgm: {nvml: true}""",
    )
    variant = load(text).fleet.services["chat"].variants["l40s"]
    assert variant.discovery == (
        StaticTargets(urls=("http://10.0.0.5:8000",)),
        HttpSd(url="http://sd/targets", refresh_s=30.0),
        PrometheusServer(url="http://prom:9090", selector='job="chat"'),
    )
    assert variant.gpu_discovery == (LocalNvml(),)


def test_the_process_actuator_is_read_through_the_file_that_it_writes(load, tmp_path):
    text = SMALL.replace(
        'scrape: {static: ["http://10.0.0.5:8000"]}',
        """actuator:
          process: {command: [serve, "{model}", --port, "{port}"], ports: 8100-8103, start_timeout: 5m}""",
    )
    variant = load(text).fleet.services["chat"].variants["l40s"]
    options = variant.actuator_options
    assert isinstance(options, ProcessOptions)
    assert options.command == ("serve", "llama-3.1-8b", "--port", "{port}")
    assert (options.ports, options.start_timeout_s) == ((8100, 8103), 300.0)
    assert variant.discovery == (FileSd(patterns=(options.targets_file,)),)
    assert Path(options.targets_file).parent == tmp_path / "run"


def test_a_gpu_and_a_model_may_be_given_by_their_numbers(load):
    text = SMALL.replace(
        "gpu: L40S", "gpu: {name: mine, memory_gb: 48, bandwidth_gb_per_s: 900, tflops: {bf16: 300}}"
    ).replace(
        "model: llama-3.1-8b",
        "model: {name: own, params_b: 8.03, layers: 32, hidden: 4096, heads: 32, kv_heads: 8, head_dim: 128, vocab: 128256}",
    )
    service = load(text).fleet.services["chat"]
    assert service.variants["l40s"].gpu.peak_flop_per_s == {"bf16": 300e12}
    # The published numbers of Llama-3.1-8B, whose shape this is.
    assert service.model.matmul_params_active == pytest.approx(6.979e9, rel=0.001)
    assert service.model.kv_bytes_per_token_16bit == 131_072


@pytest.mark.parametrize(
    ("case", "old", "new", "expected"),
    [
        ("unknown key", "gpu: L40S", "gpus: L40S", ["5:7: services.chat.variants.l40s: the key 'gpu' is missing", "6:9: services.chat.variants.l40s.gpus: unknown key 'gpus'; did you mean 'gpu'?"]),
        ("unknown gpu", "L40S", "L40", ["6:9: services.chat.variants.l40s.gpu: gpu 'L40' is not one row of the GPU table; did you mean L40S or L4 or T4? Or give its numbers"]),
        ("ambiguous gpu", "gpu: L40S", "gpu: H100", ["6:9: services.chat.variants.l40s.gpu: gpu 'H100' is not one row of the GPU table; it may be H100-PCIe, H100-SXM, H100-NVL; or give its numbers"]),
        ("unknown model", "llama-3.1-8b", "lama-3.1-8b", ["3:5: services.chat.model: model 'lama-3.1-8b' is not in the model table; did you mean llama-3.1-8b or llama-3.1-70b or llama-3.1-405b? Or give its numbers"]),
        ("no way to read", 'scrape: {static: ["http://10.0.0.5:8000"]}', "quantization: fp7", ["5:7: services.chat.variants.l40s: no target to read in `scrape`; expected static, file_sd, http_sd, prometheus, kubernetes or aws_asg", "7:9: services.chat.variants.l40s.quantization: quantization 'fp7' is not known; did you mean fp8 or fp4 or fp16?"]),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_place_and_the_nearest_choice(problems, case, old, new, expected):
    assert problems(SMALL.replace(old, new)) == expected, case


def test_all_mistakes_are_told_at_once(problems):
    text = "mode: acting\ninterval: 15\nservices:\n  chat: {model: llama-3.1-8b, variants: {}}\n"
    assert problems(text) == [
        "1:1: mode: 'acting' is not one of observe, advise, act; did you mean 'act'?",
        "2:1: interval: expected a duration with its unit, such as 90s, 10m or 1h30m, found 15",
        "4:31: services.chat.variants: expected at least 1, found 0",
    ]


def test_a_wrong_shape_hides_nothing_that_can_be_known_all_the_same(problems):
    text = """\
interval: 60s
rate_window: 90s
policies: [absent.yaml]
notify: {slack: {}}
services:
  chat:
    model: lama-3.1-8b
    variants:
      l40s:
        gpu: L40
        profile: absent.json
        actuator: {process: {command: [serve], ports: 8100-8103, health: 3}, systemd: {}}
        capacity:
          - {type: reserved, usd_per_gpu_hour: no}
          - {type: spot}
          - {type: spot, offer: aws/us-east-1/p5.48xlarg}
intervall: 5s
"""
    found = problems(text, {"PENNYWEIGHT_MODE": "acting"}, offers=("aws/us-east-1/p5.48xlarge",))
    variant = "services.chat.variants.l40s"
    assert [problem.split(": ")[1] for problem in found] == [
        "mode",
        "rate_window",
        "policies[0]",
        "notify.slack",
        "services.chat.model",
        f"{variant}.gpu",
        f"{variant}.profile",
        f"{variant}.actuator",
        f"{variant}.actuator.process",
        f"{variant}.actuator.process.health",
        f"{variant}.actuator.systemd",
        f"{variant}.capacity[0]",
        f"{variant}.capacity[0].usd_per_gpu_hour",
        f"{variant}.capacity[2].type",
        f"{variant}.capacity[2].offer",
        "intervall",
    ]


def test_an_offer_that_the_price_book_does_not_have_is_a_mistake_with_the_nearest(problems, load):
    text = SMALL + "        capacity:\n          - {type: spot, offer: aws/us-east-1/g6e.xlrge}\n"
    book = ("aws/us-east-1/g6e.xlarge", "gcp/us-central1/a3-highgpu-8g")
    (problem,) = problems(text, offers=book)
    assert problem == (
        "9:26: services.chat.variants.l40s.capacity[0].offer: the price book has no offer 'aws/us-east-1/g6e.xlrge'; "
        "did you mean 'aws/us-east-1/g6e.xlarge'? Or give your own usd_per_gpu_hour"
    )
    priced = text.replace("xlrge", "xlrge, usd_per_gpu_hour: 1")
    assert load(priced, offers=book).fleet.services["chat"].variants["l40s"].capacity[0].usd_per_gpu_hour == 1


def test_a_rehearsal_needs_no_way_to_the_metrics(problems, load):
    text = SMALL.replace('        scrape: {static: ["http://10.0.0.5:8000"]}\n', "")
    assert load(text, measured=False).fleet.services["chat"].variants["l40s"].discovery == ()
    assert "no target to read in `scrape`" in problems(text)[0]


def test_a_wrong_file_still_tells_what_it_names(tmp_path):
    (tmp_path / "mine.yaml").write_text("")
    path = tmp_path / "fleet.yaml"
    path.write_text("policies: ['m*.yaml']\n" + SMALL.replace("L40S", "L40"))
    seen = seen_at(path)
    assert seen is not None
    assert (seen.services, seen.policy_files) == ({"chat": ("l40s",)}, (tmp_path / "mine.yaml",))
    path.write_text("a: [")
    assert seen_at(path) is None


def test_a_window_too_short_for_two_readings_is_a_mistake(problems):
    assert problems("interval: 60s\nrate_window: 90s\n" + SMALL) == [
        "2:1: rate_window: must hold two readings: expected at least two intervals, 120 s, found 90 s"
    ]


def test_two_actuators_are_one_too_many(problems):
    text = SMALL + "        actuator: {dry_run: {}, emulated: {}}\n"
    assert problems(text) == [
        "8:9: services.chat.variants.l40s.actuator: expected exactly one actuator, found 2: dry_run, emulated"
    ]


def test_a_node_holds_a_replica_at_least(problems, load):
    text = SMALL + "        gpus_per_replica: 4\n        capacity: [{type: spot, usd_per_gpu_hour: 2, node_gpus: %s}]\n"
    assert load(text % 8).fleet.services["chat"].variants["l40s"].capacity[0].node_gpus == 8
    assert load(SMALL).fleet.services["chat"].variants["l40s"].capacity == ()
    (told,) = problems(text % 2)
    assert told.endswith("capacity[0].node_gpus: a node holds a replica: expected at least 4 GPUs, found 2")
    assert "capacity[0].node_gpus" in problems(text % 0)[0]
    assert "capacity[0].node_gpus" in problems(text % '"eight"')[0]


def test_reserved_capacity_must_say_how_much_is_paid_for(problems):
    text = SMALL + "        capacity: [{type: reserved, usd_per_gpu_hour: 2}]\n"
    assert problems(text) == [
        "8:20: services.chat.variants.l40s.capacity[0]: reserved capacity needs `replicas`: how many are paid for"
    ]


@pytest.fixture
def profiled(tmp_path):
    """Writes a profile beside the fleet file, and a fleet file that names it."""

    def written(fit):
        profile = Profile(
            server="http://10.0.0.5:8000",
            model="llama-3.1-8b",
            at=datetime(2026, 11, 21, tzinfo=UTC),
            seed=1,
            usd_per_hour=Missing("price", "none was given"),
            price_source="",
            points=(),
            fit=fit,
        )
        (tmp_path / "l40s.json").write_text(profile.to_json(), encoding="utf-8")
        return SMALL + "        profile: l40s.json\n"

    return written


def test_a_profile_and_a_start_up_time_are_a_variants_own(load, profiled):
    step = StepModel(base_s=0.01, per_sequence_s=1e-4, per_kv_token_s=1e-8, per_prefill_token_s=1e-5)
    unknown = Missing("error", "not measured")
    fit = StepFit(
        step=step,
        overhead_s=0.0,
        coefficients=(),
        observations=1,
        tpot_error_ratio=unknown,
        throughput_error_ratio=unknown,
        ttft_error_ratio=unknown,
    )
    variant = load(profiled(fit) + "        start_up: 2m\n").fleet.services["chat"].variants["l40s"]
    assert (variant.step, variant.start_up_s) == (step, 120.0)
    plain = load(SMALL).fleet.services["chat"].variants["l40s"]
    assert (plain.step, plain.start_up_s) == (None, None)


def test_a_profile_that_says_nothing_is_a_mistake(problems, profiled, tmp_path):
    (told,) = problems(profiled(Missing("step model", "every request failed")))
    assert told.startswith("8:9: services.chat.variants.l40s.profile: 'l40s.json' has no step model")
    assert "every request failed" in told
    (tmp_path / "l40s.json").write_text("{", encoding="utf-8")
    (told,) = problems(SMALL + "        profile: l40s.json\n")
    assert "'l40s.json' cannot be read as a profile: not JSON" in told
    (told,) = problems(SMALL + "        profile: none.json\n        start_up: 240s\n")
    assert "there is no file 'none.json'; `pennyweight profile URL --out none.json` writes one" in told


def test_a_fleet_may_have_a_name(load, problems):
    assert load(SMALL).fleet_name == ""
    assert load(f"fleet: eu-west.1\n{SMALL}").fleet_name == "eu-west.1"
    for wrong in ("eu/west", "-eu", "x" * 64, "eu west"):
        (told,) = problems(f"fleet: {wrong!r}\n{SMALL}")
        assert f"fleet: expected at most 63 letters, digits, '.', '_' and '-', found '{wrong}'" in told


def test_the_environment_wins_over_the_file(load):
    environ = {"PENNYWEIGHT_MODE": "act", "PENNYWEIGHT_LEDGER": "postgresql+psycopg://db/pennyweight"}
    settings = load(SMALL, environ)
    assert (settings.mode, settings.ledger_url) == (Mode.ACT, "postgresql+psycopg://db/pennyweight")


def test_a_secret_comes_from_the_environment_and_is_in_no_text(load, problems):
    text = SMALL + "notify: {slack: {}}\n"
    assert problems(text) == [
        "8:10: notify.slack: the environment variable PENNYWEIGHT_SLACK_WEBHOOK_URL is not set; it holds the webhook's address"
    ]
    settings = load(text, {"PENNYWEIGHT_SLACK_WEBHOOK_URL": "https://hooks.example/T0KEN42"})
    assert settings.channels == ("log", "slack")
    assert "T0KEN42" not in repr(settings)


def test_the_schema_knows_every_top_level_key():
    assert set(json_schema()["properties"]) >= {"mode", "interval", "ledger", "services", "policies", "serve"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (SMALL.replace("gpu: L40S", "gpu: {name: mine}"), ["6:9: services.chat.variants.l40s.gpu: the key 'memory_gb' is missing", "6:9: services.chat.variants.l40s.gpu: the key 'bandwidth_gb_per_s' is missing", "6:9: services.chat.variants.l40s.gpu: the key 'tflops' is missing"]),
        (SMALL.replace("llama-3.1-8b", "8"), ["3:5: services.chat.model: expected text or keys and values, found 8"]),
        (SMALL + "        dcgm: {nvml: 1}\n", ["8:16: services.chat.variants.l40s.dcgm.nvml: expected true or false or a list, found 1"]),
        (SMALL + "        gpus_per_replica: true\n", ["8:9: services.chat.variants.l40s.gpus_per_replica: expected a whole number, found True"]),
        (SMALL + "        capacity: [{type: spot, usd_per_gpu_hour: .inf}]\n", ["8:33: services.chat.variants.l40s.capacity[0].usd_per_gpu_hour: expected a number or a list, found inf"]),
        (SMALL + "        actuator: {process: }\n", ["8:9: services.chat.variants.l40s.actuator: 'process' stands without options; where it needs none, write process: {}"]),
        (process("command: [serve, '{prot}'], ports: 8100-8103"), ["7:30: services.chat.variants.l40s.actuator.process.command: unknown placeholder {prot} in '{prot}'; did you mean 'port'?"]),
        (process("command: [serve], ports: 8100-8103"), ["7:20: services.chat.variants.l40s.actuator.process: the command has no {port}; with several ports every replica needs its own"]),
        (process("command: [serve, '{port}'], ports: 0-3"), ["7:58: services.chat.variants.l40s.actuator.process.ports: expected ports from 1 to 65535, found 0-3"]),
        ("retention: {minutes: 0s}\n" + SMALL, ["1:13: retention.minutes: input should be greater than 0, found '0s'"]),
        ("ledger: mysql://db\n" + SMALL, ["1:1: ledger: expected sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE"]),
        ("policies: [chat.yaml]\n" + SMALL, ["1:12: policies[0]: there is no file 'chat.yaml'"]),
        (SMALL.replace("chat:", "'':"), ["2:3: services['']: must not be empty"]),
    ],
)  # fmt: skip
def test_what_would_only_fail_later_is_told_when_the_file_is_read(problems, text, told):
    assert problems(text) == told


def test_tables_and_shapes_are_judged_together(problems):
    text = "intervall: 5s\n" + SMALL.replace("L40S", "L40").replace("llama", "lama") + "        quantization: fp7\n"
    assert [problem.split(": ")[1] for problem in problems(text)] == [
        "intervall",
        "services.chat.model",
        "services.chat.variants.l40s.gpu",
        "services.chat.variants.l40s.quantization",
    ]


def test_policies_are_found_wherever_they_are_and_tests_are_none(load, tmp_path):
    for name in ("mine/a.yaml", "mine/a.test.yaml", "mine/.b.yaml", "mine/deep/c.yaml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x: 1\n", encoding="utf-8")
    found = {
        pattern: [path.name for path in load(f"policies: ['{pattern}']\n{SMALL}").policy_files]
        for pattern in ("mine/*.yaml", f"{tmp_path}/mine/a.yaml", "**/*.yaml", "", "none/*.yaml")
    }
    assert found == {
        "mine/*.yaml": ["a.yaml"],
        f"{tmp_path}/mine/a.yaml": ["a.yaml"],
        "**/*.yaml": ["fleet.yaml", "a.yaml", "c.yaml"],
        "": [],
        "none/*.yaml": [],
    }


def test_brackets_in_the_folders_name_are_no_pattern(tmp_path):
    folder = tmp_path / "fleet[1]"
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "chat.yaml").write_text("x: 1\n", encoding="utf-8")
    (folder / "fleet.yaml").write_text(SMALL, encoding="utf-8")
    assert [path.name for path in load_settings(folder / "fleet.yaml", {}).policy_files] == ["chat.yaml"]


def test_an_empty_variable_is_no_variable_and_a_wrong_one_is_named(load, problems):
    settings = load(SMALL, {"PENNYWEIGHT_MODE": "", "PENNYWEIGHT_LEDGER": ""})
    assert settings.mode is Mode.ADVISE
    assert problems(SMALL, {"PENNYWEIGHT_MODE": "off", "PENNYWEIGHT_LEDGER": "db"}) == [
        "1:1: mode: PENNYWEIGHT_MODE is 'off', expected one of observe, advise, act",
        "1:1: ledger: PENNYWEIGHT_LEDGER is wrong: expected sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE",
    ]

"""The opponents by name. Each file defines its own contenders; here they are in the order of the report."""

from __future__ import annotations

from collections.abc import Mapping

from controller.simulate.opponents.contender import Contender
from controller.simulate.opponents.dynamo import DYNAMO, DYNAMO_LOAD, DYNAMO_THROUGHPUT
from controller.simulate.opponents.hpa import HPA_GPU, HPA_KV, HPA_LOAD, HPA_QUEUE, HPA_REFERENCE
from controller.simulate.opponents.keda import KEDA_LOAD, KEDA_QUEUE
from controller.simulate.opponents.kpa import KPA
from controller.simulate.opponents.ray import RAY_SERVE
from controller.simulate.opponents.sky import SKYSERVE
from controller.simulate.opponents.static import STATIC
from controller.simulate.opponents.wva import WVA_V1, WVA_V2
from controller.simulate.opponents.wva_queue import WVA_QUEUEING

OPPONENTS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        STATIC,
        HPA_LOAD,
        HPA_QUEUE,
        HPA_KV,
        HPA_GPU,
        HPA_REFERENCE,
        KEDA_QUEUE,
        KEDA_LOAD,
        KPA,
        WVA_V1,
        WVA_V2,
        WVA_QUEUEING,
        DYNAMO_THROUGHPUT,
        DYNAMO_LOAD,
        DYNAMO,
        SKYSERVE,
        RAY_SERVE,
    )
}

"""The pipeline execution as a document. Owns the one stage, the one step and the graph around them.

One step stands for `init` and `plan` together: a client shows a step only when it polls while that step is active.
"""

from datetime import datetime
from typing import Any, Final

from runyard.dialects.harness.progress import Progress, Shown, shown

STAGE: Final = "terraform"
ROOT: Final = "root"
STEP: Final = "plan"
_STAGE_STEP: Final = "IACMIntegrationStageStepPMS"
_PLUGIN: Final = "IACMTerraformPlugin"


def execution_document(
    *,
    execution: str,
    org: str,
    project: str,
    pipeline: str,
    log_key: str,
    progress: Progress,
    now: datetime,
) -> dict[str, Any]:
    """Return the `data` of a pipeline execution: summary and graph, both always present."""
    view = shown(progress, now)
    begin, over = _millis(progress.accepted_at), _maybe(view.ended_at)
    return {
        "pipelineExecutionSummary": {
            "pipelineIdentifier": pipeline,
            "planExecutionId": execution,
            "name": pipeline,
            "orgIdentifier": org,
            "projectIdentifier": project,
            "status": view.summary,
            "startTs": begin,
            "endTs": over,
            "startingNodeId": STAGE,
            "layoutNodeMap": {
                STAGE: {
                    "nodeType": "IACM",
                    "nodeGroup": "STAGE",
                    "nodeIdentifier": STAGE,
                    "name": STAGE,
                    "nodeUuid": STAGE,
                    "status": view.stage,
                    "edgeLayoutList": {"currentNodeChildren": [], "nextIds": []},
                }
            },
        },
        "executionGraph": _graph(view, log_key, begin, over),
    }


def _graph(view: Shown, log_key: str, begin: int, over: int | None) -> dict[str, Any]:
    responses = [{"async": {"callbackIds": [], "logKeys": [log_key], "units": []}}]
    root = _node(ROOT, STAGE, _STAGE_STEP, view.stage, f"pipeline.stages.{STAGE}", begin, over)
    step = _node(
        STEP, STEP, _PLUGIN, view.step, f"pipeline.stages.{STAGE}.spec.execution.steps.{STEP}", begin,
        _maybe(view.step_ended_at), view.message, responses,
    )  # fmt: skip
    return {
        "rootNodeId": ROOT,
        "nodeMap": {ROOT: root, STEP: {**step, "logBaseKey": log_key}},
        "nodeAdjacencyListMap": {
            ROOT: {"children": [STEP], "nextIds": []},
            STEP: {"children": [], "nextIds": []},
        },
    }


def _node(
    uuid: str,
    name: str,
    kind: str,
    status: str,
    fqn: str,
    begin: int,
    end: int | None,
    message: str = "",
    responses: list[Any] | None = None,
) -> dict[str, Any]:
    return {
        "uuid": uuid,
        "setupId": uuid,
        "name": name,
        "identifier": name,
        "stepType": kind,
        "status": status,
        "baseFqn": fqn,
        "startTs": begin,
        "endTs": end,
        "failureInfo": {"message": message},
        "executableResponses": responses or [],
    }


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def _maybe(moment: datetime | None) -> int | None:
    return None if moment is None else _millis(moment)

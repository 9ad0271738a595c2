"""A refusal as Cog tells it."""

from service.api.refusals import JSON, Body, RefusalShape


def cog_error(problem: Body) -> Body:
    """Cog lists the places of invalid input; anything else has one sentence."""
    if problem["status"] == 422:
        place = ["body", "input", problem["field"]] if "field" in problem else ["body", "input"]
        return {"detail": [{"loc": place, "msg": problem["detail"], "type": problem["code"]}]}
    return {"detail": problem["detail"], "code": problem["code"], "error": problem["detail"], "status": "failed"}


COG_SHAPE = RefusalShape("CogError", JSON, cog_error)

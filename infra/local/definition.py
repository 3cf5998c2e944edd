"""What AWS finds in a state machine's definition before it takes it."""

import json

ENDS = ("Succeed", "Fail")


def problem(text: str) -> str | None:
    """The first transition that leads nowhere, in AWS's words.

    https://docs.aws.amazon.com/step-functions/latest/apireference/API_ValidateStateMachineDefinition.html
    """
    try:
        return _problem(json.loads(text), "")
    except ValueError as fault:
        return f"Invalid State Machine Definition: 'INVALID_JSON_DESCRIPTION: {fault}'"


def _problem(machine: dict, place: str) -> str | None:
    states = machine.get("States", {})
    for field, target in _transitions(machine):
        if target not in states:
            return _missing(f"{field} target is not a state: {target}", f"{place}/{field}")
    for name, state in states.items():
        here = f"{place}/States/{name}"
        if state.get("Type") not in (*ENDS, "Choice") and not state.get("End") and "Next" not in state:
            return _missing("neither Next nor End", here)
        inner = [*state.get("Branches", []), state.get("ItemProcessor"), state.get("Iterator")]
        outer = [part for part in [state, *state.get("Choices", []), *state.get("Catch", [])]]
        for field, target in [found for part in outer for found in _transitions(part)]:
            if target not in states:
                return _missing(f"{field} target is not a state: {target}", f"{here}/{field}")
        for machine_inside in filter(None, inner):
            if found := _problem(machine_inside, here):
                return found
    return None


def _transitions(part: dict) -> list[tuple[str, str]]:
    return [(field, part[field]) for field in ("StartAt", "Next", "Default") if field in part]


def _missing(what: str, where: str) -> str:
    return f"Invalid State Machine Definition: 'MISSING_TRANSITION_TARGET: {what} at {where}'"

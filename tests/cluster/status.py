"""The API server's refusals: a Status object and its HTTP code."""

from __future__ import annotations

from typing import Any


class ApiStatus(Exception):  # noqa: N818 - it is named as the API names it
    """An answer that is no success."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        retry_after_s: int | None = None,
        causes: tuple[str, ...] = (),
        budget: str = "",
    ) -> None:
        super().__init__(message)
        self.code, self.reason, self.message, self.retry_after_s = code, reason, message, retry_after_s
        self.causes, self.budget = causes, budget

    def body(self) -> dict[str, Any]:
        details: dict[str, Any] = {}
        if self.retry_after_s is not None:
            details["retryAfterSeconds"] = self.retry_after_s
        if self.causes:
            details["causes"] = [{"reason": "FieldValueInvalid", "field": field} for field in self.causes]
        if self.budget:
            details["causes"] = [{"reason": "DisruptionBudget", "message": self.budget}]
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
            **({"details": details} if details else {}),
        }


def not_found(resource: str, name: str) -> ApiStatus:
    return ApiStatus(404, "NotFound", f'{resource} "{name}" not found')


def no_such_path() -> ApiStatus:
    return ApiStatus(404, "NotFound", "the server could not find the requested resource")


def conflict(resource: str, name: str) -> ApiStatus:
    changed = "the object has been modified; please apply your changes to the latest version and try again"
    return ApiStatus(409, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": {changed}')


def invalid(kind: str, name: str, field: str, why: str) -> ApiStatus:
    return ApiStatus(422, "Invalid", f'{kind} "{name}" is invalid: {field}: {why}', causes=(field,))


def gone(version: str) -> ApiStatus:
    return ApiStatus(410, "Expired", f"The resourceVersion for the provided watch is too old: {version}")

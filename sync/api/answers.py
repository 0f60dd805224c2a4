"""How every answer looks: JSON, also of what is refused or goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from sync.engine.configs import TakenError
from sync.engine.locks import BusyError
from sync.errors import PROBLEMS, SyncError, TargetError, discreet

REALM = 'Bearer realm="dvsync"'
# Of errors of the catalogue; every other one lies in what was asked for.
_STATUS = {
    "database_unavailable": 503,
    "database_conflict": 503,
    "read_only": 503,
    "disk_full": 503,
    "row_decided": 409,
    "internal_error": 500,
}
_REFUSED = 422

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """A document and its status; ``headers`` are further ones."""

    document: Mapping[str, object]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> JsonResponse:
        """Return it as Django's response."""
        return JsonResponse(
            dict(self.document), status=self.status, headers=dict(self.headers)
        )


class Refusal(Exception):
    """A request that is not done; ``code`` is one of docs/api.md."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        where: str = "",
        remedy: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.answer = Answer(
            problem(code, message, where, remedy), status, headers or {}
        )


def problem(
    code: str, message: str, where: str = "", remedy: str = ""
) -> dict[str, object]:
    """Return the document of an error."""
    said = {"code": code, "message": message, "where": where, "remedy": remedy}
    return {"error": said}


def not_found(what: str) -> Refusal:
    """Return the refusal of something that is not there."""
    return Refusal(404, "not_found", what)


def conflict(message: str, remedy: str = "") -> Refusal:
    """Return the refusal of what the present state does not allow."""
    return Refusal(409, "conflict", message, remedy=remedy)


def answer_of(error: Exception) -> Answer:
    """Return what is answered when a request ended with an error."""
    if isinstance(error, Refusal):
        return error.answer
    if isinstance(error, BusyError):
        message = "The table is being loaded or refreshed now"
        return Answer(problem("busy", message, "", "Try again in a moment."), 409)
    if isinstance(error, SyncError):
        document = problem(error.code, error.message, error.where, error.remedy)
        taken = isinstance(error, TakenError)
        return Answer(document, 409 if taken else _STATUS.get(error.code, _REFUSED))
    if isinstance(error, DatabaseError | InterfaceError | psycopg.Error):
        return _of_database(error)
    log.error("A request of the API failed", exc_info=error)
    code = "internal_error"
    # What it says may hold a value; the log has it.
    message = f"Unexpected {type(error).__name__}"
    return Answer(problem(code, message, "", PROBLEMS[code].remedy), 500)


def _of_database(error: Exception) -> Answer:
    log.warning("The API cannot use the database: %s", type(error).__name__)
    away = TargetError("database_unavailable", "The database cannot be used now")
    return Answer(problem(away.code, discreet(away), "", away.remedy), 503)


@csrf_exempt  # it does nothing
def nowhere(request: HttpRequest) -> JsonResponse:
    """Say that there is nothing at an address."""
    message = f"There is nothing at {request.path[:200]}"
    remedy = "docs/api.md lists the addresses; none ends in a slash."
    return Answer(problem("not_found", message, "", remedy), 404).response()

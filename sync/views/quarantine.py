"""Rows that were set aside: which, why, and what becomes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.contrib import messages
from django.core.paginator import Page, Paginator
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from sync.engine import set_aside
from sync.engine.set_aside import Became, Decided, Deed, Wanted
from sync.engine.words import plural
from sync.errors import SyncError
from sync.models import QuarantinedRow, SyncConfig, SyncTable
from sync.views.access import OPERATE, VIEW, needs
from sync.views.pages import back, id_of, page

PER_PAGE = 100
FILTERS = ("sync", "table", "code", "state", "q")
STATES = {**{state: state for state in QuarantinedRow.State.values}, "all": ""}
# What was done last is shown once, on the page to which the deed leads.
DONE = "quarantine_done"
GOOD = {Became.APPLIED, Became.UNCHANGED, Became.DISMISSED}


@require_safe
@needs(VIEW)
def quarantine(request: HttpRequest) -> HttpResponse:
    """List rows; the filters and the page are in the address."""
    wanted, chosen = _wanted(request.GET)
    rows = Paginator(set_aside.listed(wanted), PER_PAGE)
    shown = rows.get_page(request.GET.get("page"))
    context = {
        **_choices(chosen),
        "chosen": chosen,
        "filtered": any(chosen[name] for name in FILTERS if name != "state"),
        "page": shown,
        "rows": [_row(row) for row in shown],
        "can_reprocess": not all(row.table.config.is_feed for row in shown),
        "has_lines": any(row.table.config.is_feed for row in shown),
        "links": _links(request.GET, shown),
        "here": request.get_full_path(),
        "done": request.session.pop(DONE, None),
    }
    return page(request, "dvsync/quarantine.html", context, title="Rows set aside")


def _wanted(given: QueryDict) -> tuple[Wanted, dict[str, Any]]:
    """Return what is asked for, and as the form shows it; nonsense asks for nothing."""
    table = id_of(given.get("table", ""))
    sync = id_of(given.get("sync", ""))
    if table is not None:
        found = SyncTable.objects.filter(pk=table).values_list("config", flat=True)
        sync = found.first()
    state = given.get("state", "open")
    state = state if state in STATES else "open"
    code = given.get("code", "").replace("\0", "")
    text = given.get("q", "").replace("\0", "").strip()
    values = (sync, table, code, state, text)
    wanted = Wanted(sync, table, code, STATES[state], text)
    return wanted, dict(zip(FILTERS, values, strict=True))


def _choices(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the filters offer: only tables with rows, and only their codes."""
    rows = QuarantinedRow.objects.order_by()
    tables = SyncTable.objects.filter(
        Exists(rows.filter(table=OuterRef("pk"))), config=chosen["sync"]
    )
    return {
        "syncs": SyncConfig.objects.only("name"),
        "tables": tables.only("entity"),
        "codes": rows.values_list("code", flat=True).distinct().order_by("code"),
        "states": list(STATES),
    }


def _row(row: QuarantinedRow) -> dict[str, Any]:
    raw = set_aside.shown_raw(row)
    return {"row": row, "raw": raw, "open": row.state == QuarantinedRow.State.OPEN}


def _links(given: QueryDict, shown: Page[QuarantinedRow]) -> dict[str, str]:
    """Return the addresses of the pages beside this one."""
    found = {}
    if shown.has_previous():
        found["newer"] = shown.previous_page_number()
    if shown.has_next():
        found["older"] = shown.next_page_number()
    links = {}
    for name, number in found.items():
        query = given.copy()
        query["page"] = str(number)
        links[name] = f"?{query.urlencode()}"
    return links


# Deciding


@dataclass(frozen=True)
class Asked:
    """What a form asks for: a deed, and the rows to which it is to be done."""

    deed: Deed
    rows: tuple[int, ...]

    @property
    def title(self) -> str:
        """The question of the page that confirms it."""
        verb = "Re-process" if self.deed is Deed.REPROCESS else "Dismiss"
        return f"{verb} {plural(len(self.rows), 'row')}?"


@require_POST
@needs(OPERATE)
def quarantine_decide(request: HttpRequest) -> HttpResponse:
    """Do it to exactly the rows that were posted; ask again for more than one."""
    overview = reverse("quarantine")
    try:
        asked = _asked(request.POST)
    except ValueError as error:
        messages.warning(request, str(error))
        return back(request, overview)
    if len(asked.rows) > 1 and "confirmed" not in request.POST:
        return _confirm(request, asked)
    _do(request, asked)
    return back(request, overview)


def _asked(posted: QueryDict) -> Asked:
    """Return what a form asks for; ``ValueError`` says what it lacks.

    One row has its own buttons; others are for the rows that are ticked, or for all
    that the page listed.
    """
    deed, _, only = posted.get("only", "").partition(" ")
    texts = [only]
    if ticked := posted.get("ticked"):
        deed, texts = ticked, [str(text) for text in posted.getlist("row")]
    elif listed := posted.get("listed"):
        deed, texts = listed, posted.get("rows", "").split(",")
    numbers = [id_of(text) for text in texts if text]
    rows = tuple(dict.fromkeys(number for number in numbers if number is not None))
    if deed not in list(Deed):
        raise ValueError("Nothing was asked for: press one of the buttons.")
    if not rows or len(rows) < len(set(texts) - {""}):
        raise ValueError("No row was chosen: tick the rows first.")
    if len(rows) > set_aside.MOST_AT_ONCE:
        most = set_aside.MOST_AT_ONCE
        raise ValueError(f"These are too many rows at once: choose {most} at the most.")
    return Asked(Deed(deed), rows)


def _confirm(request: HttpRequest, asked: Asked) -> HttpResponse:
    """Show what would be done to which rows; they are posted back as they are."""
    found = QuarantinedRow.objects.filter(pk__in=asked.rows)
    context = {
        "asked": asked,
        "reprocess": asked.deed is Deed.REPROCESS,
        "rows": [_row(row) for row in set_aside.brief(found).order_by("pk")],
        "frozen": ",".join(map(str, asked.rows)),
        # Where the form was, if that is a page of ours.
        "next": back(request, reverse("quarantine")).headers["Location"],
    }
    return page(request, "dvsync/quarantine_confirm.html", context, title=asked.title)


def _do(request: HttpRequest, asked: Asked) -> None:
    person = request.user.get_username()
    try:
        decided = set_aside.decide(asked.rows, asked.deed, by=person)
    except SyncError as error:
        messages.error(request, f"{error} {error.remedy} Look at the rows again.")
        return
    if len(decided) == 1:
        _tell_one(request, decided[0])
        return
    said = f"{plural(len(decided), 'row')}: {set_aside.summary(decided)}."
    good = all(one.became in GOOD for one in decided)
    messages.add_message(request, messages.SUCCESS if good else messages.WARNING, said)
    request.session[DONE] = [asdict(one) for one in decided]


def _tell_one(request: HttpRequest, decided: Decided) -> None:
    good = decided.became in GOOD
    # What is still wrong is told by its text, not by the word for it alone.
    words = [f"{decided.place}: {decided.became.value}"]
    if decided.said and decided.said != decided.became.value:
        words.append(decided.said)
    level = messages.SUCCESS if good else messages.WARNING
    messages.add_message(request, level, ". ".join(words))

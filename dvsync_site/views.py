"""What only this site has: sample data at the press of a button."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from dvsync_site.sample_demo import make_sample_export
from sync.engine.drafts import begin_anew_from_export
from sync.errors import SyncError
from sync.views.access import ADD, needs
from sync.views.setup.frame import to_step, user_of


@require_POST
@needs(ADD)
def setup_sample(request: HttpRequest) -> HttpResponse:
    """Begin the set-up of a sync of sample data, which is made unless it is there."""
    reasons = []
    for root in settings.ROOTS:
        try:
            directory = make_sample_export(root)
            begin_anew_from_export(user_of(request), str(directory))
        except OSError as error:
            reasons.append(f"{root}: {error.strerror}")
        except SyncError as error:
            reasons.append(str(error))
        else:
            return to_step("tables")
    messages.error(request, f"The sample cannot be written: {'; '.join(reasons)}")
    return HttpResponseRedirect(reverse("setup"))

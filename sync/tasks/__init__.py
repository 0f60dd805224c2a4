"""QUEUEING: polls and loads as tasks of django-q2. Nothing else imports django_q.

The queue is a convenience: what is true is in the progress rows and in PostgreSQL's
locks. A task that is lost, doubled or late changes nothing but the time of a load.
"""

from __future__ import annotations

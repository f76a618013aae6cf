"""Asking the parts of a composition: all at once, none of them waited for longer than it was given."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import eventlet
from eventlet.greenthread import GreenThread

from chassis import access, telemetry
from chassis.context import Subject
from chassis.patience import AtMost
from contracts.errors import DeadlineExceeded, HubError, InternalError, Unauthenticated
from gateway import locale
from gateway.calls import GATEWAY, Calls
from gateway.composition import Asking, Composition, Part

log = telemetry.logger(__name__)

ALL_S = 1.8
"""Seconds that anchor and parts may take together: within 2 s a client has its answer, whoever is away."""
LEAST_S = 0.1
"""Seconds that a part is given after an anchor that took them all."""
GRACE_S = 0.2
"""Seconds beyond a part's own deadline after which it is given up unheard, should its call not end by itself."""


@dataclass(frozen=True)
class Errand:
    """On whose behalf a composition is asked, and how its calls are named in logs."""

    calls: Calls
    subject: Subject
    request_id: str
    traceparent: str
    language: locale.Language


def gather(composition: Composition, request: Mapping[str, Any], errand: Errand, now: dt.datetime,
           select: Collection[str] | None = None) -> dict[str, Any]:
    """Return the composition's answer, JSON-ready and in clear.

    Args:
        composition: what to bring together.
        request: loaded by its request schema.
        errand: for whom.
        now: the moment of the request, in the company's time zone.
        select: the fields that are wanted, None for all; a part that nobody wants is not asked.

    Raises:
        HubError: of the anchor; or of a part, where no part came and it is not for lack of a right.
    """
    asking, until = Asking(request, errand.subject, now), time.monotonic() + ALL_S
    answer = {name: fact.described.serialize(name, {name: fact.value(asking)})
              for name, fact in composition.facts.items()}
    if composition.anchor is not None:
        answer[composition.anchor.name] = _ask(composition.anchor, asking, errand, composition.anchor.within_s)
    wanted = [part for part in composition.parts if select is None or part.name in select]
    came = _ask_all(wanted, asking, errand, until)
    failed = {name: found for name, found in came.items() if isinstance(found, HubError)}
    if composition.anchor is None and wanted and len(failed) == len(wanted):
        _raise_unless_forbidden(failed)
    answer |= {part.name: None for part in composition.parts}
    answer |= {name: found for name, found in came.items() if not isinstance(found, HubError)}
    answer["missing"] = [_missing(name, error, errand.language) for name, error in failed.items()]
    return answer


def _raise_unless_forbidden(failed: Mapping[str, HubError]) -> None:
    for error in failed.values():
        if error.status >= 500:
            raise error


def _missing(name: str, error: HubError, language: locale.Language) -> dict[str, str]:
    message = InternalError().message if isinstance(error, InternalError) else error.message
    return {"part": name, "code": error.code, "message": locale.detail(error.code, error.status, message, language)}


def _ask_all(parts: Collection[Part], asking: Asking, errand: Errand, until: float) -> dict[str, Any]:
    """Return part → what came, or the error that came instead, in the order of the parts."""
    now = time.monotonic()
    limits = [min(part.within_s, max(until - now, LEAST_S)) for part in parts]
    asked = [(part, limit, eventlet.spawn(_answer_of, part, asking, errand, limit))
             for part, limit in zip(parts, limits, strict=True)]
    return {part.name: _awaited(part, limit, now + limit + GRACE_S, thread) for part, limit, thread in asked}


def _awaited(part: Part, within_s: float, until: float, thread: GreenThread) -> Any:
    # They run side by side and are awaited one after the other: each to its own moment, not for its own while.
    with AtMost(max(until - time.monotonic(), 0)):
        return thread.wait()
    return DeadlineExceeded(f"The {part.operation.service} service did not answer within {within_s:.1f} s")


def _answer_of(part: Part, asking: Asking, errand: Errand, within_s: float) -> Any:
    """Return what came, or the error: one part that is broken must not take the others with it."""
    # A greenlet of its own knows none of our ids.
    with telemetry.about(request_id=errand.request_id, traceparent=errand.traceparent):
        try:
            # A service would write the refusal down; here it is everyday: half a screen for half the rights.
            if not part.on_behalf_of_gateway:
                access.require(asking.subject, part.operation.permission)
            return _ask(part, asking, errand, within_s)
        except HubError as error:
            return error
        except Exception as error:
            log.error("part_failed", part=part.name, operation=part.operation.routing_key,
                      error=type(error).__name__, **telemetry.where(error))
            return InternalError()


def _ask(part: Part, asking: Asking, errand: Errand, within_s: float) -> dict[str, Any]:
    subject = GATEWAY if part.on_behalf_of_gateway else errand.subject
    try:
        document = errand.calls.call(part.operation, part.request(asking), subject=subject,
                                     request_id=errand.request_id, traceparent=errand.traceparent,
                                     timeout_s=within_s).document
    except Unauthenticated as error:
        # The client is known; it is our own token that the service does not accept.
        log.error("context_token_refused", service=part.operation.service, reason=error.message)
        raise InternalError from error
    if not part.is_section:
        return document
    return {"items": document["items"], "more": document["next"] is not None, "href": part.href(asking)}

"""What to do next, by the class of a failure: the table of the sync engine, as code without side effects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from services.integrations.domain.pauses import Code
from services.integrations.domain.retry import Chance, probe_s, wait_s

TRANSIENT = "transient"
AMBIGUOUS = "ambiguous"
RATE_LIMITED = "rate_limited"
AUTH = "auth"
INVALID = "invalid"
ALREADY_EXISTS = "already_exists"
NOT_FOUND = "not_found"
VERSION_CONFLICT = "version_conflict"
DEPENDENCY_MISSING = "dependency_missing"
ADAPTER_ERROR = "adapter_error"
GONE = "gone"
PACED = "paced"
"""Not the target's doing: the pace that is set for the connection leaves no room for the call."""
UNRESOLVABLE = "unresolvable"
AWAITING_MATCH = "awaiting_match"
"""Not a failure: the record may be there already, and a go-live matching that is under way will tell."""
LEFT_OUT = "left_out"
"""Not a failure: the record may be there already, and no go-live matching has settled which one it is."""
FILTERED = "filtered"
"""Not a failure: the filter of the route leaves the record out."""

CLASSES = (TRANSIENT, AMBIGUOUS, RATE_LIMITED, AUTH, INVALID, ALREADY_EXISTS, NOT_FOUND, VERSION_CONFLICT,
           DEPENDENCY_MISSING, ADAPTER_ERROR, GONE)
"""What an adapter's `classify` may answer. Anything else is taken for `adapter_error`."""
UNWELL = (TRANSIENT, AMBIGUOUS)
"""What counts against the target: its breaker opens on these."""
WOULD_RECUR = (*UNWELL, RATE_LIMITED, AUTH, GONE, PACED)
"""What the next call of the connection would meet as well. The others are about one record."""

FEW_TRIES = 3
"""Failures of a kind that repeating rarely heals: an adapter's own fault, a conflict met again and again."""
THROTTLE_DEFAULT_S = 30.0
"""Pause of a connection when the target says "too many" without saying how long."""
THROTTLE_LEAST_S, THROTTLE_MOST_S = 1.0, 86_400.0
RECHECK_S = 60.0
"""How often the sweeper looks again at a blocked delivery; being bound wakes it at once."""
MATCH_RECHECK_S = 600.0
"""How often a delivery that waits for a matching looks again; the end of the matching wakes it at once."""

Next = Literal["retry_wait", "in_doubt", "blocked", "dead"]


@dataclass(frozen=True)
class Verdict:
    """What becomes of a delivery whose call failed, and of its connection and binding.

    Attributes:
        state: where the delivery goes.
        wait_s: when it is looked at again; None for `dead`.
        uses_attempt: whether this failure counts towards the last attempt.
        throttle_s: the whole connection keeps still for so long.
        pause: the connection is paused for a person, with this reason.
        unbind: the target does not know our record any more; it is made anew.
    """

    state: Next
    wait_s: float | None = None
    uses_attempt: bool = True
    throttle_s: float | None = None
    pause: Code | None = None
    unbind: bool = False


def decide(failure: str, failures: int, chance: Chance, *, retry_after_s: float | None = None) -> Verdict:
    """Return what to do.

    Args:
        failure: one of `CLASSES`, or `paced`.
        failures: how many attempts have failed, this one included.
        chance: for the jitter.
        retry_after_s: what the target asked for; of `paced`, when a call may begin, None if one did not fit its time.
    """
    match failure:
        case "ambiguous":
            return Verdict("in_doubt", probe_s(0, chance))
        case "already_exists":
            return Verdict("in_doubt", 0.0)
        case "rate_limited":
            asked_s = THROTTLE_DEFAULT_S if retry_after_s is None else retry_after_s
            pause_s = min(max(asked_s, THROTTLE_LEAST_S), THROTTLE_MOST_S)
            return Verdict("retry_wait", pause_s, uses_attempt=False, throttle_s=pause_s)
        case "paced" if retry_after_s is not None:
            return Verdict("retry_wait", retry_after_s, uses_attempt=False)
        case "auth":
            return Verdict("retry_wait", 0.0, uses_attempt=False, pause="auth")
        case "gone":
            return Verdict("retry_wait", 0.0, uses_attempt=False, pause="gone")
        case "invalid":
            return Verdict("dead")
        case "dependency_missing":
            return Verdict("blocked", RECHECK_S, uses_attempt=False)
        case "not_found":
            return _again(failures, chance, unbind=True)
        case "version_conflict" | "adapter_error":
            return Verdict("dead") if failures >= FEW_TRIES else _again(failures, chance)
        case "transient" | "paced":
            return _again(failures, chance)
    return decide(ADAPTER_ERROR, failures, chance)


def _again(failures: int, chance: Chance, *, unbind: bool = False) -> Verdict:
    pause_s = wait_s(failures, chance)
    return Verdict("dead", unbind=unbind) if pause_s is None else Verdict("retry_wait", pause_s, unbind=unbind)


# --- in doubt -----------------------------------------------------------------------------------------------------

FIND_ONLY_PROOF_S = 30.0
"""A target that honours no key is asked later, and its silence believed only then: nothing would catch a double."""


@dataclass(frozen=True)
class Doubt:
    """A call whose answer was lost.

    Attributes:
        since_s: seconds from the cut to the moment the look-up began.
        probes: look-ups made, this one included.
        can_find: the target can be asked by our key.
        honours_key: sending the same key twice makes one record there.
    """

    since_s: float
    probes: int
    can_find: bool
    honours_key: bool


Answer = Literal["found", "absent", "unanswered"]
Resolution = Literal["adopt", "resend", "look_again", "give_up"]


def resolve(doubt: Doubt, answer: Answer, proof_s: float) -> Resolution:
    """Return how a delivery in doubt goes on after a look-up.

    An empty look-up right after a cut proves nothing: targets have been seen to commit 0.3 s after the client was gone.

    Args:
        doubt: what is known.
        answer: what the look-up said; `absent` also stands for a target that cannot be asked.
        proof_s: seconds after the cut from which an empty look-up is believed.
    """
    if answer == "found":
        return "adopt"
    if not doubt.can_find and not doubt.honours_key:
        return "give_up"
    if answer == "absent" and proof_in_s(doubt, proof_s) <= 0:
        return "resend"
    return "look_again"


def proof_in_s(doubt: Doubt, proof_s: float) -> float:
    """Return in how many seconds an empty look-up is believed; not above 0 if it is now."""
    return (proof_s if doubt.honours_key else max(proof_s, FIND_ONLY_PROOF_S)) - doubt.since_s

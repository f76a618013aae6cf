"""Our contacts and customers ↔ Ghost's members. Pure functions: no call, no clock."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hub_adapter.consent import granted_at

Json = Mapping[str, Any]
Row = dict[str, Any]

CHANNEL = "email"
MARK = "hub:"
"""Begins the line of a member's note that holds our id."""
LONGEST_NAME = LONGEST_LABEL = 191
FIELDS: Json = {
    "type": "object",
    "required": ["email"],
    "properties": {
        "email": {"type": ["string", "null"]},
        "name": {"type": ["string", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "level": {"type": ["string", "null"], "description": "Becomes a label, level:…, beside the tags."},
    },
}
"""What of our records Ghost takes, beside their consent."""
STAMP_STEP = timedelta(seconds=1)
"""Ghost cuts its times to whole seconds."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the hub says of a person. `labels` is None where the record has no tags to tell of."""

    email: str | None
    name: str
    granted_at: datetime
    labels: tuple[str, ...] | None


def address(text: Any) -> str | None:
    """An address as we keep it there: Ghost takes two that differ in case for two members."""
    return unicodedata.normalize("NFC", str(text or "").strip()).lower() or None


def wanted(body: Json, label_prefix: str) -> Wanted:
    """The part of a contact or customer that Ghost gets.

    Raises:
        Invalid: the person has not granted this channel.
    """
    tags = [*(body.get("tags") or []), *([f"level:{body['level']}"] if body.get("level") else [])]
    labels = sorted({f"{label_prefix}{tag}"[:LONGEST_LABEL] for tag in tags}) if "tags" in body else None
    return Wanted(
        email=address(body.get("email")),
        name=str(body.get("name") or "").strip()[:LONGEST_NAME],
        granted_at=granted_at(body, CHANNEL),
        labels=tuple(labels) if labels is not None else None,
    )


def with_mark(note: str | None, local_id: str) -> str:
    """A note with the line that holds our id; what people wrote there stays."""
    lines = (note or "").splitlines()
    return note or "" if f"{MARK}{local_id}" in lines else "\n".join([*lines, f"{MARK}{local_id}"])


def is_marked(member: Json, local_id: str) -> bool:
    return f"{MARK}{local_id}" in (member.get("note") or "").splitlines()


def is_subscribed(member: Json, newsletter: str) -> bool:
    return any(one["id"] == newsletter for one in member.get("newsletters") or [])


def own_labels(member: Json, prefix: str) -> list[str]:
    return sorted(label["name"] for label in member.get("labels") or [] if label["name"].startswith(prefix))


def changes(wanted: Wanted, member: Json, local_id: str, label_prefix: str) -> Row:
    """What has to be written so that a member is as the hub says; its newsletters are another matter."""
    values: Row = {}
    if wanted.email and wanted.email != member["email"]:
        values["email"] = wanted.email
    if wanted.name != (member.get("name") or ""):
        values["name"] = wanted.name
    if not is_marked(member, local_id):
        values["note"] = with_mark(member.get("note"), local_id)
    if wanted.labels is not None and list(wanted.labels) != own_labels(member, label_prefix):
        # Scar: Ghost takes labels by their names. Named by id alone, an editor's label is dropped without a word.
        theirs = [one["name"] for one in member["labels"] if not one["name"].startswith(label_prefix)]
        values["labels"] = [{"name": name} for name in (*theirs, *wanted.labels)]
    return values


def newsletters(member: Json, newsletter: str, subscribed: bool) -> list[Row]:
    """All newsletters of a member with ours in or out: Ghost replaces the list as a whole."""
    others = [{"id": one["id"]} for one in member.get("newsletters") or [] if one["id"] != newsletter]
    return [*others, {"id": newsletter}] if subscribed else others


def expected(wanted: Wanted) -> Row:
    """A person as `body_of` tells the member once it stands there; without an address nobody gets the newsletter."""
    subscribed = {"email": wanted.email, "consent": {CHANNEL: {"state": "granted"}}} if wanted.email else {}
    return {"name": wanted.name, **subscribed}


def body_of(member: Json, newsletter: str, refused_at: datetime | None) -> Row:
    """A member in canonical form. What nobody there said is left out of `consent`.

    Args:
        refused_at: when the newsletter was left, if it was.
    """
    said: Row = {}
    if is_subscribed(member, newsletter):
        said = {CHANNEL: {"state": "granted"}}
    elif refused_at is not None:
        said = {CHANNEL: {"state": "refused", "at": written(refused_at)}}
    return {"email": member["email"], "name": member.get("name") or "", "consent": said}


def version(member: Json, newsletter: str, label_prefix: str) -> str:
    """Of the fields that we own there.

    Scar: `updated_at` alone is no version. It counts whole seconds, and does not move when a newsletter is left.
    """
    owned = [
        member["email"],
        member.get("name") or "",
        is_subscribed(member, newsletter),
        own_labels(member, label_prefix),
    ]
    plain = json.dumps(owned, ensure_ascii=False, separators=(",", ":"))
    return f"{member['updated_at']}/{hashlib.sha256(plain.encode()).hexdigest()[:20]}"


def may_return(refused_at: datetime | None, granted_at: datetime) -> bool:
    """Whether consent of this time brings a member back. A refusal wins, also in the second in which both were said."""
    return refused_at is None or granted_at >= refused_at + STAMP_STEP


def written(moment: datetime) -> str:
    """A time as we write it: UTC, cut to milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def quoted(text: str) -> str:
    """A text in Ghost's filter language (NQL)."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def in_filter(moment: datetime) -> str:
    """A time in a filter. Scar: with a T and a zone it is compared as a text, and nothing is found."""
    return quoted(moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S"))

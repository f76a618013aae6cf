"""Subscribing people to the newsletter and taking them off. What a person said there is never overwritten by an older
word of ours.

A call tells a version only where the member stands as the hub left it. The engine takes that version for its own echo:
told of somebody who left the newsletter meanwhile, it would drop that refusal at the next poll.
"""

from __future__ import annotations

from collections.abc import Mapping

from hub_adapter.failure import Invalid, NotFound
from hub_adapter.port import Remote, Write, Written
from services.integrations.adapters.ghost import mapping
from services.integrations.adapters.ghost.admin import Admin
from services.integrations.adapters.ghost.mapping import Row, Wanted


def get(admin: Admin, external_id: str) -> Remote | None:
    member = admin.member(external_id)
    return remotes(admin, [member])[0] if member else None


def find(admin: Admin, keys: Mapping[str, str]) -> list[Remote]:
    """Members by "id" (ours, a line of the note) or "email"."""
    if unknown := keys.keys() - {"id", "email"}:
        raise Invalid(f"a member cannot be found by {sorted(unknown)}")
    clauses = [f"note:~{mapping.quoted(mapping.MARK + keys['id'])}"] if "id" in keys else []
    if "email" in keys:
        clauses.append(f"email:{mapping.quoted(mapping.address(keys['email']) or '')}")
    found = admin.members("+".join(clauses))
    return remotes(admin, [one for one in found if "id" not in keys or mapping.is_marked(one, keys["id"])])


def remotes(admin: Admin, members: list[Row]) -> list[Remote]:
    """Members as they stand there, in canonical form."""
    left, ours = admin.refused_at(members), admin.settings.newsletter
    return [
        Remote(
            external_id=one["id"],
            body=mapping.body_of(one, ours, left.get(one["id"])),
            version=mapping.version(one, ours, admin.settings.label_prefix),
            active=mapping.is_subscribed(one, ours),
        )
        for one in members
    ]


def write(admin: Admin, cmd: Write) -> Written:
    """Make the person a member who gets the newsletter, unless it was left after consent was granted.

    Raises:
        NotFound: the bound member is gone.
        Invalid: there is no consent, no address to begin with, or Ghost refuses a value.
    """
    wanted = mapping.wanted(cmd.body, admin.settings.label_prefix)
    member = admin.member(cmd.external_id) if cmd.external_id else _known(admin, cmd.local_id, wanted)
    if member is None and cmd.external_id:
        raise NotFound(f"member {cmd.external_id} is gone from Ghost")
    if member is None and wanted.email is None:
        raise Invalid("a person without an e-mail address cannot be a member", field="/email")
    adopted = member is not None and cmd.external_id is None
    if admin.dry_run:
        return _rehearsed(admin, cmd.local_id, wanted, member)
    if member is None:
        member, adopted = _made(admin, cmd.local_id, wanted)
    values = mapping.changes(wanted, member, cmd.local_id, admin.settings.label_prefix)
    kept_off = _subscription(admin, wanted, member, values)
    if values:
        member = admin.edit(member["id"], values)
    return _written(admin, member, adopted, kept_off)


def retire(admin: Admin, external_id: str) -> Written:
    """Take the newsletter away; twice is no error. The member stays: it may read other newsletters, or pay."""
    member = admin.member(external_id)
    if member is None:
        return Written(external_id=external_id, details={"state": "gone"})
    ours = admin.settings.newsletter
    subscribed = mapping.is_subscribed(member, ours)
    if admin.dry_run:
        return Written(external_id=external_id, details={"would": "unsubscribe" if subscribed else "nothing"})
    if not subscribed:
        return Written(external_id=external_id, details={"state": "unsubscribed"})
    member = admin.edit(external_id, {"newsletters": mapping.newsletters(member, ours, False)})
    (remote,) = remotes(admin, [member])
    ended = not remote.active
    return Written(
        external_id=external_id,
        remote_version=remote.version if ended else None,
        body=remote.body if ended else None,
        details={"state": "unsubscribed"},
    )


def _known(admin: Admin, local_id: str, wanted: Wanted) -> Row | None:
    """The member with our id in its note, else the one with the address."""
    marked = admin.members(f"note:~{mapping.quoted(mapping.MARK + local_id)}")
    for one in marked:
        if mapping.is_marked(one, local_id):
            return one
    return _by_email(admin, wanted.email) if wanted.email else None


def _by_email(admin: Admin, email: str) -> Row | None:
    found = admin.members(f"email:{mapping.quoted(email)}", 1)
    return found[0] if found else None


def _made(admin: Admin, local_id: str, wanted: Wanted) -> tuple[Row, bool]:
    """A new member, and whether it was there after all: another client may have been faster."""
    values = {
        "email": wanted.email,
        "name": wanted.name,
        "note": mapping.with_mark(None, local_id),
        "labels": [{"name": name} for name in wanted.labels or ()],
        "newsletters": [{"id": admin.settings.newsletter}],
    }
    try:
        return admin.add(values), False
    except Invalid:
        # Its words are translated and change with the version, so ask instead of reading them: is it there by now?
        if (member := _by_email(admin, wanted.email or "")) is None:
            raise
    return member, True


def _subscription(admin: Admin, wanted: Wanted, member: Row, values: Row) -> str | None:
    """Add to `values` what the newsletter needs; returns why the person is left off it, if so."""
    ours = admin.settings.newsletter
    subscribed = mapping.is_subscribed(member, ours)
    if wanted.email is None:
        if subscribed:
            values["newsletters"] = mapping.newsletters(member, ours, False)
        return "the person has no e-mail address any more"
    if subscribed:
        return None
    refused_at = admin.refused_at([member]).get(member["id"])
    if not mapping.may_return(refused_at, wanted.granted_at):
        return "the person left the newsletter after consent was granted"
    values["newsletters"] = mapping.newsletters(member, ours, True)
    return None


def _written(admin: Admin, member: Row, adopted: bool, kept_off: str | None) -> Written:
    (remote,) = remotes(admin, [member])
    if kept_off or not remote.active:
        why = kept_off or "the person left the newsletter while it was being written"
        return Written(external_id=member["id"], adopted=adopted, details={"state": "refused there", "warnings": [why]})
    return Written(
        external_id=member["id"],
        remote_version=remote.version,
        adopted=adopted,
        body=remote.body,
        details={"state": "subscribed"},
    )


def _rehearsed(admin: Admin, local_id: str, wanted: Wanted, member: Row | None) -> Written:
    if member is None:
        return Written(external_id="", details={"would": "create", "to": {"email": wanted.email}})
    values = mapping.changes(wanted, member, local_id, admin.settings.label_prefix)
    kept_off = _subscription(admin, wanted, member, values)
    told = {"would": "update" if values else "nothing", "fields": sorted(values)}
    return Written(external_id=member["id"], details=told | ({"warnings": [kept_off]} if kept_off else {}))

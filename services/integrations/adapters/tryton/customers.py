"""A customer is a party. Its code there is our id, unique in the ERP: by it a lost answer ends in adoption."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hub_adapter.failure import Invalid, NotFound
from hub_adapter.port import Remote, Write, Written
from services.integrations.adapters.tryton import mapping
from services.integrations.adapters.tryton.rest import Rest, Row

PARTY = "party.party"


def get(rest: Rest, external_id: str) -> Remote | None:
    row = _read(rest, ["id", "=", int(external_id)])
    return _remote(row) if row else None


def find(rest: Rest, keys: Mapping[str, str]) -> list[Remote]:
    """Parties by "id" (our id = their code), "name", "email" or "phone" (as a contact of any name)."""
    clauses = {
        "id": lambda value: ["code", "=", value],
        "name": lambda value: ["name", "=", value],
        "email": lambda value: ["contact_mechanisms.value", "=", value],
        "phone": lambda value: ["contact_mechanisms.value_compact", "=", value],
    }
    if unknown := keys.keys() - clauses.keys():
        raise Invalid(f"a party cannot be found by {sorted(unknown)}")
    rows = rest.search(PARTY, [clauses[key](value) for key, value in keys.items()], mapping.PARTY_FIELDS, limit=50)
    return [_remote(row) for row in rows]


def page(rest: Rest, after_id: int, limit: int) -> list[Remote]:
    rows = rest.search(PARTY, [["id", ">", after_id]], mapping.KNOWN_BY_FIELDS, limit=limit)
    return [replace(_remote(row), known_by=mapping.known_by(row)) for row in rows]


def write(rest: Rest, cmd: Write) -> Written:
    """Bring the party to what the customer says; look first, write only what differs.

    Raises:
        NotFound: the bound party is gone.
        Invalid: the ERP refuses it, or it was merged into another party there.
    """
    wanted = mapping.wanted_customer(cmd.body)
    party = _read(rest, ["id", "=", int(cmd.external_id)]) if cmd.external_id else _by_code(rest, cmd.local_id)
    if party is None and cmd.external_id:
        raise NotFound(f"party {cmd.external_id} is gone from the ERP")
    if rest.dry_run:
        return _rehearsed(wanted, party)
    refused: dict[str, str] = {}
    adopted = party is not None and cmd.external_id is None
    if party is None:
        party, adopted = _create(rest, cmd.local_id, wanted)
    if party is not None:
        _require_usable(rest, party)
        _update(rest, party, wanted, refused)
    party = _by_code(rest, cmd.local_id) if not cmd.external_id else _read(rest, ["id", "=", int(cmd.external_id)])
    if party is None:
        raise NotFound("the party vanished while it was written")
    return Written(
        external_id=str(party["id"]),
        remote_version=mapping.digest(mapping.customer_of(party)),
        adopted=adopted,
        details={
            "code": party["code"],
            "refused_contacts": refused,
            "warnings": [f"the ERP refuses the {field}: {said}" for field, said in refused.items()],
        },
    )


def retire(rest: Rest, external_id: str) -> Written:
    """Deactivate: invoices point at a party, so an ERP never deletes one."""
    party = _read(rest, ["id", "=", int(external_id)])
    if party and party["active"] and not rest.dry_run:
        rest.write(PARTY, party["id"], {"active": False})
    return Written(external_id=external_id, details={"state": "inactive" if party else "gone"})


def _create(rest: Rest, code: str, wanted: Row) -> tuple[Row | None, bool]:
    """A new party; returns (the party to go on updating or None when it stands, whether it was there already)."""
    values = mapping.party_values(wanted, code)
    contacts = [command for commands in mapping.contact_commands(wanted, {}).values() for command in commands]
    try:
        rest.create(PARTY, values | {"contact_mechanisms": contacts})
        return None, False
    except Invalid:
        # The refusal's words are translated, so ask instead of reading them: does the code exist by now?
        if (party := _by_code(rest, code)) is not None:
            return party, True
        if not contacts:
            raise
    # Scar: the ERP refuses the whole party for one phone number or mail domain that its libraries do not like. A
    # customer without a phone is worth more than no customer: create it bare, then try each contact on its own.
    rest.create(PARTY, values)
    return _by_code(rest, code), False


def _update(rest: Rest, party: Row, wanted: Row, refused: dict[str, str]) -> None:
    # Tryton's REST takes no expected version (a stale _timestamp is ignored): read, compare, write the difference.
    changes, contacts = mapping.party_changes(wanted, party), mapping.contact_commands(wanted, party)
    if not party["active"]:
        rest.write(PARTY, party["id"], {"active": True})  # on its own, first: an inactive row is read-only
    if changes:
        rest.write(PARTY, party["id"], changes)
    for field, commands in contacts.items():
        try:
            rest.write(PARTY, party["id"], {"contact_mechanisms": commands})
        except Invalid as error:
            refused[field] = str(error)


def _require_usable(rest: Rest, party: Row) -> None:
    if party["replaced_by"]:
        raise Invalid(
            f"party {party['id']} was merged into party {party['replaced_by']} in the ERP;"
            " link the customer to that one"
        )
    if not party["active"] and not rest.settings.reactivate:
        raise Invalid(f"party {party['id']} is inactive in the ERP, and the settings forbid to bring it back")


def _rehearsed(wanted: Row, party: Row | None) -> Written:
    if party is None:
        return Written(external_id="", details={"would": "create", "to": wanted})
    changed = not party["active"] or mapping.party_changes(wanted, party) or mapping.contact_commands(wanted, party)
    return Written(
        external_id=str(party["id"]),
        details={"would": "update" if changed else "nothing", "from": mapping.customer_of(party), "to": wanted},
    )


def _by_code(rest: Rest, code: str) -> Row | None:
    return _read(rest, ["code", "=", code])


def _read(rest: Rest, clause: list[Any]) -> Row | None:
    return rest.one(PARTY, [clause], mapping.PARTY_FIELDS)


def _remote(party: Row) -> Remote:
    body = mapping.customer_of(party)
    return Remote(
        external_id=str(party["id"]),
        body={"id": party["code"], **body},
        # Scar: a changed address or contact does not move the party's own stamp; only the content tells.
        version=mapping.digest(body),
        active=bool(party["active"]),
    )

"""A job: the one call that a leased delivery asks for, with all that it needs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from chassis.crypto import Keyring
from hub_adapter.port import AdapterSpec
from services.integrations.domain.bindings import create_key, is_away, is_bound
from services.integrations.domain.gates import Barred, barring
from services.integrations.domain.mapping import Unmappable
from services.integrations.domain.merging import Owner
from services.integrations.models import Connection
from services.integrations.operations import disputes, payloads, records, snapshots
from services.integrations.operations.bodies import InForce
from services.integrations.operations.payloads import Payload
from services.integrations.queries.lanes import Lane


@dataclass(frozen=True, kw_only=True)
class Job:
    """One call to make, with all that it needs; its attempt is open.

    Attributes:
        action: write, delete or find.
        attempts: failures before this call.
        version: of the record that `body` shows; what the target will be known to have.
        key: under which the target is asked to do this once.
        references: entity → external id of the records that this one points at.
        traceparent: of the event behind it; the call goes on with that trace.
        last_call: the span of the call before this one, if there was one and it was traced.
        accepted_at: when the change came in.
        deadline_at: until when it may wait for records it needs, from the first time that it had to.
        tombstone: whether a delete leaves the binding, so that the record can be written to the same id again.
        pulled: whether changes of such records come back from the target.
        base: what both sides agreed on last, if they did; of a record that was adopted, what we had sent.
        adopted: whether it was found there after a lost answer, and nothing has been written to it since.
        sought: what the target is asked for it by while it is not bound (`AdapterSpec.sought_by`).
        begun: what it is looked for by before it is made, as an earlier call may have left it there; None if none may.
        needs: entity and id of the records that this one points at.
        once: fields that are left as they stand there: sent when a record is made, or in dispute.
        whole: whether `body` has what is sent only when a record is made.
        owners: what the route says of whose a field is that both sides changed.
        changed_at: when the record was last changed here.
        asking: entities of which a person is asked, should a record have gone there.
        unmappable: why the mapping in force could not make a body of the record.
        due_at: when it had become due.
        bound: the state of its binding before this call was begun; None if it had none.
        doubted_as: of a look-up, the class of the failure that led to the doubt.
    """

    delivery_id: str
    connection_id: str
    entity: str
    local_id: str
    op: str
    action: str
    fence: int
    attempts: int
    deferrals: int
    version: int
    key: str
    due_at: dt.datetime
    external_id: str | None = None
    remote_version: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    references: Mapping[str, str] = field(default_factory=dict)
    probes: int = 0
    doubt_since: dt.datetime | None = None
    traceparent: str | None = None
    last_call: str | None = None
    accepted_at: dt.datetime | None = None
    deadline_at: dt.datetime | None = None
    tombstone: bool = False
    pulled: bool = False
    base: Mapping[str, Any] | None = field(default=None, repr=False)
    adopted: bool = False
    sought: Mapping[str, str] | None = field(default=None, repr=False)
    begun: Mapping[str, str] | None = field(default=None, repr=False)
    needs: Sequence[tuple[str, str]] = ()
    once: frozenset[str] = frozenset()
    whole: bool = True
    owners: Mapping[str, Owner] = field(default_factory=dict)
    changed_at: dt.datetime | None = None
    asking: Collection[str] = ()
    unmappable: Unmappable | None = None
    bound: str | None = None
    doubted_as: str | None = None

    @property
    def lease(self) -> tuple[str, int]:
        """(delivery_id, fence)."""
        return self.delivery_id, self.fence

    @property
    def lane(self) -> Lane:
        """(connection_id, entity, local_id)."""
        return self.connection_id, self.entity, self.local_id


@dataclass(kw_only=True)
class Leased:
    """A delivery that was taken, with what is known of its record, its target, and what the one is to the other.

    Attributes:
        row: the delivery.
        connection, spec: where it goes, and what the adapter says of that.
        sent: what is in force there; None if nothing ever was.
        copy: our copy of the record; None if there is none.
        state: what that says; None if it does not open.
        binding: None if the record never had one.
        needs: entity and id of each record that this one points at, with the binding of that.
    """

    row: Any
    connection: Connection
    spec: AdapterSpec
    sent: InForce | None
    copy: Any
    state: Mapping[str, Any] | None
    binding: Any
    needs: Mapping[tuple[str, str], Any]

    @property
    def lane(self) -> Lane:
        """(connection_id, entity, local_id)."""
        return self.row.connection_id, self.row.entity, self.row.local_id

    @property
    def version(self) -> int:
        """Of the record as it is brought: what it is now, or what a payload that goes again shows."""
        fixed = self.state is None or self.row.payload is not None
        version: int = self.row.source_version if fixed else self.copy.version
        return version

    @property
    def acked_version(self) -> int | None:
        """The version that the target has: 0 of a record that was found there, None of one that is not there."""
        return self.binding.acked_version if is_bound(self.binding) else None

    @cached_property
    def barred(self) -> Barred | None:
        """Why the record may not stand there, if it may not."""
        if self.row.op != "upsert" or self.state is None:
            return None
        return barring(self.spec, self.row.entity, self.state)

    @property
    def deletes(self) -> bool:
        """Whether the record is to be taken away there."""
        return self.row.op == "delete" or self.barred is not None


def job_of(keyring: Keyring, one: Leased) -> Job:
    """Return the call that a delivery asks for."""
    row, binding, writes = one.row, one.binding, not one.deletes
    external_id = binding.external_id if binding else None
    pulled = one.connection.pulls(row.entity)
    try:
        payload, unmappable = _payload(keyring, one), None
    except Unmappable as error:
        payload, unmappable = Payload(one.version, {}, {}), error
    sought = _sought(keyring, one, payload.body)
    sent = one.sent if writes else None
    once: frozenset[str] = sent.once(row.entity) if sent and external_id is not None else frozenset()
    return Job(
        delivery_id=row.id, connection_id=row.connection_id, entity=row.entity, local_id=row.local_id, op=row.op,
        action="write" if writes else "delete", fence=row.fence, attempts=row.attempts, deferrals=row.deferrals,
        version=one.version, external_id=external_id, traceparent=row.traceparent, last_call=row.last_call,
        # Until it is bound, every version of the record is made under one key: else a lost answer doubles it.
        key=row.idempotency_key if external_id or row.op != "upsert" else create_key(one.lane),
        accepted_at=row.created_at, deadline_at=row.deadline_at, due_at=row.due_at,
        tombstone=one.barred is not None and one.barred.may_return,
        remote_version=binding.remote_version if binding else None, bound=binding.state if binding else None,
        body=payload.body, references=payload.references, whole=payload.whole, unmappable=unmappable,
        adopted=one.acked_version == 0, needs=list(one.needs), once=disputes.frozen(binding) | once,
        owners=sent.owners.get(row.entity, {}) if sent else {}, asking=sent.asking if sent else (),
        changed_at=records.changed_at(one.copy, one.state) if one.state is not None else None, pulled=pulled,
        base=snapshots.base_of(keyring, binding) if pulled else None, sought=sought,
        begun=_begun(keyring, one, sought) if writes else None,
    )


def _payload(keyring: Keyring, one: Leased) -> Payload:
    """Return what is sent of the record.

    Raises:
        Unmappable: nothing can be made of it.
    """
    state, creating = one.state or {}, not is_bound(one.binding)
    if one.row.payload is not None and not one.deletes:
        return payloads.again(keyring, one.row, state, creating=creating)
    references = {entity: there.external_id for (entity, _id), there in one.needs.items() if is_bound(there)}
    if one.sent is None or one.deletes:
        return Payload(one.version, state, references)
    body = one.sent.body(one.row.entity, state, creating=creating)
    return Payload(one.version, body, references, whole=creating or not one.sent.once(one.row.entity))


def _sought(keyring: Keyring, one: Leased, body: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Return what a record is looked for by: what is to be taken back, by what it may have been made with."""
    begun = snapshots.sought_before(keyring, one.binding) if one.deletes else None
    return one.spec.sought_by(one.row.entity, one.row.local_id, body or None) if begun is None else begun


def _begun(keyring: Keyring, one: Leased, sought: Mapping[str, str] | None) -> Mapping[str, str] | None:
    """Return what the record is looked for by before it is made: where the adapter's own look would not do.

    That finds it by what it has now, and writes over what people there have done to it since.
    """
    if one.row.op != "upsert" or is_bound(one.binding) or is_away(one.binding):
        return None
    before = snapshots.sought_before(keyring, one.binding)
    if before is None:
        before = one.spec.sought_by(one.row.entity, one.row.local_id, None)
    return before if before and (one.connection.pulls(one.row.entity) or before != sought) else None

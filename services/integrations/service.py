"""The door of the integrations service."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from chassis import keepalive, telemetry
from chassis.config import ConfigError
from chassis.database import after_commit, utcnow
from chassis.entrypoints import Call, Heard, Service, exposes, hears
from chassis.paging import Page
from chassis.runtime import Runtime
from contracts import customers, sales
from contracts import integrations as contract
from contracts.event import EventType
from contracts.schema import dump
from services.integrations import models
from services.integrations.domain.ledger import Ledger
from services.integrations.doors.mappings import MappingDoors
from services.integrations.doors.runs import RunDoors
from services.integrations.engine import bindings, checks, decisions, gaps, webhooks
from services.integrations.engine.engine import Engine, engine_of
from services.integrations.operations import (
    accounts,
    cancelling,
    credentials,
    disputes,
    intake,
    matching,
    payloads,
    pulls,
    replays,
)
from services.integrations.operations import connections as connection_operations
from services.integrations.operations import routes as route_operations
from services.integrations.operations.records import HASHED
from services.integrations.queries import adapters, conflicts, connections, deliveries, fates, routes
from services.integrations.queries.gauges import ConnectionGauges, ReconciliationGauges
from services.integrations.settings import IntegrationsSettings


def prepare(runtime: Runtime) -> None:
    """Make the key of record hashes, and the engine of this process.

    Raises:
        ConfigError: a lease would end before the call it covers.
    """
    settings = _settings(runtime)
    if settings.lease_s <= settings.call_deadline_s:
        raise ConfigError("lease_s must exceed call_deadline_s: a call could outlive the right to settle it")
    runtime.keyring.prepare([HASHED, matching.HASHED, payloads.HASHED])
    keepalive.install()
    runtime.extra["engine"] = Engine(runtime.db, runtime.keyring, settings)


def _settings(runtime: Runtime) -> IntegrationsSettings:
    if not isinstance(runtime.settings, IntegrationsSettings):
        raise TypeError("this room was started with another room's settings")
    return runtime.settings


def _told(call: Call, route: models.Route) -> dict[str, Any]:
    [told] = route_operations.told(call.session, [route])
    return told


def _accept(event: Heard, kind: EventType) -> None:
    """Accept a change for every target that it concerns, and wake the engine when that is committed."""
    envelope = event.envelope
    change = intake.Change(envelope.id, envelope.type, envelope.origin, envelope.subject, envelope.entityversion,
                           dump(kind.data, event.data), telemetry.current("traceparent"))
    woken = intake.accept(event.session, event.runtime.keyring, change, utcnow())
    if woken:
        after_commit(event.session, lambda: engine_of(event.runtime).wake(woken))


@contextmanager
def _making_way(call: Call) -> Iterator[None]:
    """Let whoever may hold the connection asked for have its row soon; go on once that is committed or refused."""
    connection = connections.get(call.session, call.request["id"], call.subject, "operate")
    dispatcher = engine_of(call.runtime).dispatcher
    dispatcher.make_way(connection.id)
    try:
        yield
    except BaseException:
        dispatcher.go_on(connection.id)
        raise
    after_commit(call.session, lambda: dispatcher.go_on(connection.id))


class IntegrationsService(MappingDoors, RunDoors, Service):
    """Answers for connections, routes and deliveries; hears what travels."""

    name = contract.SERVICE
    # Five workers, not one that starts four: the chassis keeps each going by itself.
    background = (lambda runtime: engine_of(runtime).dispatcher, lambda runtime: engine_of(runtime).sweeper,
                  lambda runtime: engine_of(runtime).poller, lambda runtime: engine_of(runtime).pruner,
                  lambda runtime: engine_of(runtime).runner)

    # --- adapters and connections ---------------------------------------------------------------------------------

    @exposes(contract.LIST_ADAPTERS)
    def list_adapters(self, call: Call) -> Mapping[str, Any]:
        """List what kinds of system can be connected."""
        return adapters.listed()

    @exposes(contract.CREATE_CONNECTION)
    def create_connection(self, call: Call) -> models.Connection:
        """Set up a connection."""
        return connection_operations.create(call.session, call.request, by=call.subject)

    @exposes(contract.GET_CONNECTION)
    def get_connection(self, call: Call) -> models.Connection:
        """Read a connection."""
        return connections.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_CONNECTIONS)
    def list_connections(self, call: Call) -> Page:
        """List connections."""
        return connections.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.CHANGE_CONNECTION)
    def change_connection(self, call: Call) -> models.Connection:
        """Change a connection."""
        return connection_operations.change(call.session, call.request, by=call.subject)

    @exposes(contract.CHECK_CONNECTION, session=False, again=connections.get)
    def check_connection(self, call: Call) -> Mapping[str, Any]:
        """Ask the target whether it can be worked with."""
        runtime = call.runtime
        return checks.check(runtime.db, runtime.keyring, call.request["id"], _settings(runtime).call_deadline_s,
                            by=call.subject, keep=call.keep)

    @exposes(contract.PAUSE_CONNECTION)
    def pause_connection(self, call: Call) -> models.Connection:
        """Stop calling."""
        with _making_way(call):
            return connection_operations.pause(call.session, call.request, by=call.subject)

    @exposes(contract.STOP_CONNECTION)
    def stop_connection(self, call: Call) -> models.Connection:
        """Take a connection out of use."""
        with _making_way(call):
            return connection_operations.stop(call.session, call.request, by=call.subject)

    @exposes(contract.RESUME_CONNECTION)
    def resume_connection(self, call: Call) -> models.Connection:
        """Go on calling."""
        connection = connection_operations.resume(call.session, call.request, by=call.subject)
        after_commit(call.session, lambda: engine_of(call.runtime).wake([connection.id]))
        return connection

    @exposes(contract.PUT_CREDENTIAL)
    def put_credential(self, call: Call) -> Mapping[str, Any]:
        """Replace a connection's secret."""
        return credentials.put(call.session, call.runtime.keyring, call.request, by=call.subject)

    @exposes(contract.PULL_NOW)
    def pull_now(self, call: Call) -> Mapping[str, Any]:
        """Ask a target for its changes now."""
        connection = connections.get(call.session, call.request["id"], call.subject, "operate")
        entities = pulls.now(call.session, connection, utcnow())
        after_commit(call.session, engine_of(call.runtime).poller.wake)
        return {"connection_id": connection.id, "entities": entities}

    @exposes(contract.GET_LEDGER)
    def get_ledger(self, call: Call) -> Ledger:
        """Show where everything that a connection accepted is."""
        return deliveries.ledger(call.session, call.request["id"], call.subject)

    # --- routes ---------------------------------------------------------------------------------------------------

    @exposes(contract.CREATE_ROUTE)
    def create_route(self, call: Call) -> Mapping[str, Any]:
        """Draft a route."""
        return _told(call, route_operations.create(call.session, call.request, by=call.subject))

    @exposes(contract.GET_ROUTE)
    def get_route(self, call: Call) -> Mapping[str, Any]:
        """Read a route."""
        return _told(call, routes.get(call.session, call.request["id"], call.subject))

    @exposes(contract.LIST_ROUTES)
    def list_routes(self, call: Call) -> Page:
        """List routes."""
        page = routes.listed(call.session, call.request, call.subject, call.runtime.codec)
        return Page(route_operations.told(call.session, page.items), page.next)

    @exposes(contract.CHANGE_ROUTE)
    def change_route(self, call: Call) -> Mapping[str, Any]:
        """Let a route carry its entity another way."""
        route = route_operations.change(call.session, call.request, by=call.subject)
        after_commit(call.session, engine_of(call.runtime).poller.wake)
        return _told(call, route)

    @exposes(contract.ACTIVATE_ROUTE, session=False, again=routes.get)
    def activate_route(self, call: Call) -> Mapping[str, Any]:
        """Switch a route on."""
        runtime = call.runtime
        route = gaps.activate(runtime.db, runtime.keyring, call.request, _settings(runtime).call_deadline_s,
                              by=call.subject, keep=call.keep)
        engine_of(runtime).poller.wake()
        return route

    @exposes(contract.DEACTIVATE_ROUTE)
    def deactivate_route(self, call: Call) -> Mapping[str, Any]:
        """Switch a route off."""
        return _told(call, route_operations.deactivate(call.session, call.request, by=call.subject))

    # --- deliveries -----------------------------------------------------------------------------------------------

    @exposes(contract.GET_DELIVERY)
    def get_delivery(self, call: Call) -> dict[str, Any]:
        """Read a delivery."""
        return fates.of_delivery(call.session, deliveries.get(call.session, call.request["id"], call.subject))

    @exposes(contract.LIST_DELIVERIES)
    def list_deliveries(self, call: Call) -> Page:
        """List deliveries."""
        return deliveries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.RETRY_DELIVERY)
    def retry_delivery(self, call: Call) -> models.Delivery:
        """Send a dead delivery again."""
        again = replays.retry(call.session, call.request, utcnow(), by=call.subject)
        after_commit(call.session, lambda: engine_of(call.runtime).wake([again.connection_id]))
        return again

    @exposes(contract.CANCEL_DELIVERY)
    def cancel_delivery(self, call: Call) -> models.Delivery:
        """Call off a delivery that waits."""
        return cancelling.cancel(call.session, call.request, utcnow(), by=call.subject)

    @exposes(contract.LIST_ATTEMPTS)
    def list_attempts(self, call: Call) -> Page:
        """List the attempts of a delivery."""
        return deliveries.attempts(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.LIST_DELIVERIES_OF_RECORD)
    def list_deliveries_of_record(self, call: Call) -> Page:
        """List what became of bringing a record to other systems."""
        return fates.of_record(call.session, call.request, call.subject, call.runtime.codec)

    # --- accounts, bindings and conflicts -------------------------------------------------------------------------

    @exposes(contract.PUT_ACCOUNT)
    def put_account(self, call: Call) -> Mapping[str, Any]:
        """Say which account is a user's, and let go what waited for it."""
        account = accounts.put(call.session, call.request, by=call.subject)
        after_commit(call.session, lambda: engine_of(call.runtime).wake([account["connection_id"]]))
        return account

    @exposes(contract.GET_ACCOUNT)
    def get_account(self, call: Call) -> Mapping[str, Any]:
        """Read which account is a user's."""
        return accounts.get(call.session, call.request, by=call.subject)

    @exposes(contract.DELETE_ACCOUNT)
    def delete_account(self, call: Call) -> Mapping[str, Any]:
        """Forget a user's account."""
        return accounts.delete(call.session, call.request, by=call.subject)

    @exposes(contract.BIND_RECORD, session=False, again=connections.get)
    def bind_record(self, call: Call) -> models.Binding:
        """Take a record at a target for one of ours, because a person has found it there."""
        runtime = call.runtime
        bound = bindings.bind(runtime.db, runtime.keyring, call.request, _settings(runtime).call_deadline_s,
                              by=call.subject, keep=call.keep)
        engine_of(runtime).wake([bound.connection_id])
        return bound

    @exposes(contract.GET_CONFLICT)
    def get_conflict(self, call: Call) -> models.Conflict:
        """Read a conflict."""
        return conflicts.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_CONFLICTS)
    def list_conflicts(self, call: Call) -> Page:
        """List conflicts."""
        return conflicts.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.RESOLVE_CONFLICT, session=False, again=conflicts.get)
    def resolve_conflict(self, call: Call) -> models.Conflict:
        """Decide a conflict."""
        runtime = call.runtime
        decided, woken = decisions.decide(runtime.db, runtime.keyring, call.request,
                                          _settings(runtime).call_deadline_s, by=call.subject, keep=call.keep)
        engine_of(runtime).wake(woken)
        return decided

    @exposes(contract.RECEIVE_INBOUND, session=False)
    def receive_inbound(self, call: Call) -> Mapping[str, Any]:
        """Take in a message of a target's webhook."""
        engine = engine_of(call.runtime)
        return webhooks.receive(call.runtime.db, engine.targets, call.request, engine.poller.wake)

    @hears(customers.EXTERNAL_REFUSED)
    def refused_by_customers(self, event: Heard) -> None:
        """Ask a person about a task, contact or customer that was changed there as our rules do not allow."""
        disputes.refused(event.session, event.data, utcnow())

    @hears(sales.EXTERNAL_REFUSED)
    def refused_by_sales(self, event: Heard) -> None:
        """Ask a person about an order that was changed there as our rules do not allow."""
        disputes.refused(event.session, event.data, utcnow())

    # --- what travels ---------------------------------------------------------------------------------------------

    @hears(customers.CUSTOMER_CREATED)
    def customer_created(self, event: Heard) -> None:
        """Bring a new customer to its targets."""
        _accept(event, customers.CUSTOMER_CREATED)

    @hears(customers.CUSTOMER_UPDATED)
    def customer_updated(self, event: Heard) -> None:
        """Bring a changed customer to its targets."""
        _accept(event, customers.CUSTOMER_UPDATED)

    @hears(customers.CUSTOMER_SNAPSHOT)
    def customer_snapshot(self, event: Heard) -> None:
        """Know the customers that were there before this room was, so that their orders can go."""
        _accept(event, customers.CUSTOMER_SNAPSHOT)

    @hears(customers.CONTACT_CREATED)
    def contact_created(self, event: Heard) -> None:
        """Bring a new contact to its targets."""
        _accept(event, customers.CONTACT_CREATED)

    @hears(customers.CONTACT_UPDATED)
    def contact_updated(self, event: Heard) -> None:
        """Bring a changed contact to its targets."""
        _accept(event, customers.CONTACT_UPDATED)

    @hears(customers.CONTACT_SNAPSHOT)
    def contact_snapshot(self, event: Heard) -> None:
        """Know the contacts that were there before this room was."""
        _accept(event, customers.CONTACT_SNAPSHOT)

    @hears(customers.TASK_CREATED)
    def task_created(self, event: Heard) -> None:
        """Bring a new task to its assignee's list."""
        _accept(event, customers.TASK_CREATED)

    @hears(customers.TASK_UPDATED)
    def task_updated(self, event: Heard) -> None:
        """Bring a changed task to its assignee's list."""
        _accept(event, customers.TASK_UPDATED)

    @hears(customers.TASK_COMPLETED)
    def task_completed(self, event: Heard) -> None:
        """Tick the task off there too."""
        _accept(event, customers.TASK_COMPLETED)

    @hears(customers.TASK_REOPENED)
    def task_reopened(self, event: Heard) -> None:
        """Open the task there again."""
        _accept(event, customers.TASK_REOPENED)

    @hears(customers.TASK_CANCELLED)
    def task_cancelled(self, event: Heard) -> None:
        """Cancel the task there too."""
        _accept(event, customers.TASK_CANCELLED)

    @hears(customers.TASK_DELETED)
    def task_deleted(self, event: Heard) -> None:
        """Take the task away there too."""
        _accept(event, customers.TASK_DELETED)

    @hears(customers.TASK_SNAPSHOT)
    def task_snapshot(self, event: Heard) -> None:
        """Know the tasks that were there before this room was."""
        _accept(event, customers.TASK_SNAPSHOT)

    @hears(sales.ORDER_CONFIRMED)
    def order_confirmed(self, event: Heard) -> None:
        """Bring a confirmed order to its targets."""
        _accept(event, sales.ORDER_CONFIRMED)

    @hears(sales.ORDER_CANCELLED)
    def order_cancelled(self, event: Heard) -> None:
        """Call a cancelled order back, or keep it from leaving."""
        _accept(event, sales.ORDER_CANCELLED)


SERVICE, SETTINGS, BASE = IntegrationsService, IntegrationsSettings, models.Base
GAUGES = (ConnectionGauges, ReconciliationGauges)

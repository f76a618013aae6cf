"""What the integrations service is asked, answers and announces.

What it keeps is described by noun: `contracts.connections`, `contracts.routes`, `contracts.deliveries` and so on.
"""

from __future__ import annotations

from contracts import (
    accounts,
    adapters,
    bindings,
    conflicts,
    connections,
    deliveries,
    errors,
    inbound,
    mappings,
    routes,
    runs,
)
from contracts.event import EventType
from contracts.operation import Operation, Permission
from contracts.schema import ById, Empty, Record, Request, page_of

SERVICE = "integrations"

CONNECTION_READ = Permission("connection", "read")
CONNECTION_CREATE = Permission("connection", "create")
CONNECTION_CHANGE = Permission("connection", "change")
CONNECTION_OPERATE = Permission("connection", "operate")
ROUTE_READ = Permission("route", "read")
ROUTE_CREATE = Permission("route", "create")
ROUTE_OPERATE = Permission("route", "operate")
DELIVERY_READ = Permission("delivery", "read")
DELIVERY_OPERATE = Permission("delivery", "operate")
CONFLICT_READ = Permission("conflict", "read")
CONFLICT_OPERATE = Permission("conflict", "operate")
MAPPING_READ = Permission("mapping", "read")
MAPPING_CREATE = Permission("mapping", "create")
MAPPING_OPERATE = Permission("mapping", "operate")
RUN_READ = Permission("run", "read")
RUN_OPERATE = Permission("run", "operate")


def _operation(name: str, summary: str, request: type[Request], response: type[Record], permission: Permission,
               *raises: type[errors.HubError], mutates: bool = True, timeout_s: float = 5.0,
               audited: str = "") -> Operation:
    return Operation(SERVICE, name, request, response, permission, errors=raises, mutates=mutates,
                     summary=summary, timeout_s=timeout_s, audited=audited)


LIST_ADAPTERS = _operation("list_adapters", "List the adapters of this installation",
                           adapters.ListAdapters, adapters.AdapterList, CONNECTION_READ, mutates=False)
CREATE_CONNECTION = _operation("create_connection", "Set up a connection",
                               connections.CreateConnection, connections.Connection, CONNECTION_CREATE,
                               errors.AlreadyExists, errors.Invalid, audited="connection")
GET_CONNECTION = _operation("get_connection", "Read a connection",
                            ById, connections.Connection, CONNECTION_READ, errors.NotFound, mutates=False)
LIST_CONNECTIONS = _operation("list_connections", "List connections",
                              connections.ListConnections, page_of(connections.Connection), CONNECTION_READ,
                              mutates=False)
CHANGE_CONNECTION = _operation("change_connection", "Change a connection",
                               connections.ChangeConnection, connections.Connection, CONNECTION_CHANGE,
                               errors.NotFound, errors.StaleVersion, errors.AlreadyExists, errors.Invalid,
                               audited="connection")
CHECK_CONNECTION = _operation("check_connection", "Check a connection",
                              connections.CheckConnection, connections.Check, CONNECTION_OPERATE,
                              errors.NotFound, timeout_s=35.0)
PAUSE_CONNECTION = _operation("pause_connection", "Pause a connection",
                              connections.PauseConnection, connections.Connection, CONNECTION_OPERATE,
                              errors.NotFound, errors.InvalidTransition, audited="connection")
STOP_CONNECTION = _operation("stop_connection", "Take a connection out of use",
                             connections.StopConnection, connections.Connection, CONNECTION_OPERATE,
                             errors.NotFound, audited="connection")
RESUME_CONNECTION = _operation("resume_connection", "Resume a connection",
                               connections.ResumeConnection, connections.Connection, CONNECTION_OPERATE,
                               errors.NotFound, errors.Conflict, audited="connection")
PUT_CREDENTIAL = _operation("put_credential", "Replace the credential of a connection",
                            connections.PutCredential, connections.Credential, CONNECTION_CHANGE,
                            errors.NotFound, errors.Invalid, audited="connection")
PULL_NOW = _operation("pull_now", "Ask the external system for changes now",
                      connections.PullNow, connections.Pulls, CONNECTION_OPERATE, errors.NotFound, errors.Conflict)
GET_LEDGER = _operation("get_ledger", "Read what became of everything accepted",
                        connections.GetLedger, connections.Ledger, CONNECTION_READ, errors.NotFound, mutates=False)
CREATE_ROUTE = _operation("create_route", "Draft a route", routes.CreateRoute, routes.Route, ROUTE_CREATE,
                          errors.NotFound, errors.AlreadyExists, errors.Invalid, audited="route")
GET_ROUTE = _operation("get_route", "Read a route", ById, routes.Route, ROUTE_READ, errors.NotFound, mutates=False)
LIST_ROUTES = _operation("list_routes", "List routes",
                         routes.ListRoutes, page_of(routes.Route), ROUTE_READ, mutates=False)
CHANGE_ROUTE = _operation("change_route", "Change a route", routes.ChangeRoute, routes.Route, ROUTE_CREATE,
                          errors.NotFound, errors.StaleVersion, errors.Invalid, errors.Conflict, audited="route")
ACTIVATE_ROUTE = _operation("activate_route", "Switch a route on", routes.ActivateRoute, routes.ActivatedRoute,
                            ROUTE_OPERATE, errors.NotFound, errors.Conflict, errors.Invalid, audited="route",
                            timeout_s=35.0)
DEACTIVATE_ROUTE = _operation("deactivate_route", "Switch a route off",
                              routes.DeactivateRoute, routes.Route, ROUTE_OPERATE, errors.NotFound, audited="route")
GET_DELIVERY = _operation("get_delivery", "Read a delivery",
                          ById, deliveries.DeliveryRead, DELIVERY_READ, errors.NotFound, mutates=False)
LIST_DELIVERIES = _operation("list_deliveries", "List deliveries",
                             deliveries.ListDeliveries, page_of(deliveries.Delivery), DELIVERY_READ, mutates=False)
RETRY_DELIVERY = _operation("retry_delivery", "Send a dead delivery again",
                            deliveries.RetryDelivery, deliveries.Delivery, DELIVERY_OPERATE,
                            errors.NotFound, errors.Conflict, errors.InvalidTransition, audited="delivery")
CANCEL_DELIVERY = _operation("cancel_delivery", "Call off a delivery that waits",
                             deliveries.CancelDelivery, deliveries.Delivery, DELIVERY_OPERATE,
                             errors.NotFound, errors.InvalidTransition, audited="delivery")
LIST_ATTEMPTS = _operation("list_attempts", "List the attempts of a delivery",
                           deliveries.ListAttempts, page_of(deliveries.Attempt), DELIVERY_READ,
                           errors.NotFound, mutates=False)
LIST_DELIVERIES_OF_RECORD = Operation(
    SERVICE, "list_deliveries_of_record", deliveries.DeliveriesOfRecord, page_of(deliveries.DeliveryTold),
    internal=True, mutates=False, summary="List what became of bringing a record to other systems")
PUT_ACCOUNT = _operation("put_account", "Say which account is a user's",
                         accounts.PutAccount, accounts.Account, CONNECTION_CHANGE,
                         errors.NotFound, errors.AlreadyExists, errors.Invalid, audited="connection")
GET_ACCOUNT = _operation("get_account", "Read which account is a user's",
                         accounts.AccountOf, accounts.Account, CONNECTION_READ,
                         errors.NotFound, mutates=False)
DELETE_ACCOUNT = _operation("delete_account", "Forget a user's account",
                            accounts.DeleteAccount, Empty, CONNECTION_CHANGE,
                            errors.NotFound, audited="connection")
BIND_RECORD = _operation("bind_record", "Say which record there is one of ours",
                         bindings.BindRecord, bindings.Binding, CONNECTION_OPERATE,
                         errors.NotFound, errors.AlreadyExists, errors.Conflict, errors.Invalid, timeout_s=35.0,
                         audited="connection")
GET_CONFLICT = _operation("get_conflict", "Read a conflict", ById, conflicts.Conflict, CONFLICT_READ, errors.NotFound,
                          mutates=False)
LIST_CONFLICTS = _operation("list_conflicts", "List conflicts",
                            conflicts.ListConflicts, page_of(conflicts.Conflict), CONFLICT_READ,
                            mutates=False)
RESOLVE_CONFLICT = _operation("resolve_conflict", "Decide a conflict",
                              conflicts.ResolveConflict, conflicts.Conflict, CONFLICT_OPERATE,
                              errors.NotFound, errors.Conflict, errors.InvalidTransition, timeout_s=35.0,
                              audited="conflict")
RECEIVE_INBOUND = Operation(SERVICE, "receive_inbound", inbound.ReceiveInbound, inbound.Received, internal=True,
                            timeout_s=10.0, errors=(errors.Unauthenticated, errors.BadRequest),
                            summary="Take in a message of a target's webhook")
SAVE_MAPPING = _operation("save_mapping", "Save a mapping as a new version",
                          mappings.SaveMapping, mappings.Mapping, MAPPING_CREATE,
                          errors.NotFound, errors.Invalid, audited="route")
LIST_MAPPINGS = _operation("list_mappings", "List the versions of a mapping",
                           mappings.ListMappings, page_of(mappings.Mapping), MAPPING_READ,
                           errors.NotFound, mutates=False)
GET_MAPPING = _operation("get_mapping", "Read a version of a mapping",
                         mappings.OneMapping, mappings.Mapping, MAPPING_READ, errors.NotFound, mutates=False)
USE_MAPPING = _operation("use_mapping", "Put a version of a mapping in force",
                         mappings.UseMapping, mappings.MappingInUse, MAPPING_OPERATE,
                         errors.NotFound, errors.Conflict, audited="route", timeout_s=35.0)
PREVIEW_MAPPING = _operation("preview_mapping", "Show what a mapping would send of real records",
                             mappings.PreviewMapping, mappings.Preview, MAPPING_OPERATE,
                             errors.NotFound, mutates=False)
LIST_CODE_TABLES = _operation("list_code_tables", "List the code tables of a connection",
                              mappings.ListCodeTables, mappings.CodeTables, MAPPING_READ,
                              errors.NotFound, mutates=False)
GET_CODE_TABLE = _operation("get_code_table", "Read a code table",
                            mappings.OneCodeTable, mappings.CodeTable, MAPPING_READ, errors.NotFound, mutates=False)
PUT_CODE_TABLE = _operation("put_code_table", "Replace a code table",
                            mappings.PutCodeTable, mappings.ReplacedCodeTable, MAPPING_OPERATE,
                            errors.NotFound, errors.Conflict, errors.Invalid, audited="connection", timeout_s=35.0)
START_RUN = _operation("start_run", "Start a run over an entity of a connection", runs.StartRun, runs.Run, RUN_OPERATE,
                       errors.NotFound, errors.Conflict, errors.Invalid, audited="run")
GET_RUN = _operation("get_run", "Read a run", ById, runs.Run, RUN_READ, errors.NotFound, mutates=False)
LIST_RUNS = _operation("list_runs", "List runs", runs.ListRuns, page_of(runs.Run), RUN_READ, mutates=False)
LIST_FINDINGS = _operation("list_findings", "List what a run has found",
                           runs.ListFindings, page_of(runs.Finding), RUN_READ, errors.NotFound, mutates=False)
DECIDE_FINDING = _operation("decide_finding", "Decide what is done about a finding",
                            runs.DecideFinding, runs.Finding, RUN_OPERATE,
                            errors.NotFound, errors.Conflict, errors.StaleVersion, errors.Invalid, audited="run")
APPROVE_RUN = _operation("approve_run", "Have a run go on that awaits approval",
                         runs.ApproveRun, runs.Run, RUN_OPERATE, errors.NotFound, errors.Conflict, audited="run")
CANCEL_RUN = _operation("cancel_run", "Cancel a run", runs.CancelRun, runs.Run, RUN_OPERATE,
                        errors.NotFound, errors.InvalidTransition, audited="run")

OPERATIONS = (
    LIST_ADAPTERS, CREATE_CONNECTION, GET_CONNECTION, LIST_CONNECTIONS, CHANGE_CONNECTION, CHECK_CONNECTION,
    PAUSE_CONNECTION, STOP_CONNECTION, RESUME_CONNECTION, PUT_CREDENTIAL, PULL_NOW, GET_LEDGER, CREATE_ROUTE,
    GET_ROUTE, LIST_ROUTES, CHANGE_ROUTE, ACTIVATE_ROUTE, DEACTIVATE_ROUTE, GET_DELIVERY, LIST_DELIVERIES,
    RETRY_DELIVERY, CANCEL_DELIVERY, LIST_ATTEMPTS, LIST_DELIVERIES_OF_RECORD, PUT_ACCOUNT, GET_ACCOUNT,
    DELETE_ACCOUNT, BIND_RECORD, GET_CONFLICT, LIST_CONFLICTS, RESOLVE_CONFLICT, RECEIVE_INBOUND, START_RUN, GET_RUN,
    LIST_RUNS, LIST_FINDINGS, DECIDE_FINDING, APPROVE_RUN, CANCEL_RUN, SAVE_MAPPING, LIST_MAPPINGS, GET_MAPPING,
    USE_MAPPING, PREVIEW_MAPPING, LIST_CODE_TABLES, GET_CODE_TABLE, PUT_CODE_TABLE,
)

EXTERNAL_CHANGED = EventType(SERVICE, "external.changed", "external", inbound.ExternalChange, schemaversion=2)
DELIVERY_SETTLED = EventType(SERVICE, "delivery.settled", "delivery", deliveries.DeliverySettled,
                             expects_listener=False)
CONNECTION_HEALTH_CHANGED = EventType(SERVICE, "connection.health_changed", "connection", connections.ConnectionHealth,
                                      expects_listener=False)
EVENTS = (EXTERNAL_CHANGED, DELIVERY_SETTLED, CONNECTION_HEALTH_CHANGED)

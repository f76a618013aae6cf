"""The columns of this room's tables, not of its models: what is asked a hundred times a second needs no objects."""

from __future__ import annotations

from services.integrations.models import Attempt, Binding, Conflict, Connection, Cursor, Delivery, Record, Route, Run
from services.integrations.queries.statements import table_of

ATTEMPT, BINDING, CONFLICT, CONNECTION, CURSOR, DELIVERY, RECORD, ROUTE, RUN = (
    table_of(model).c for model in (Attempt, Binding, Conflict, Connection, Cursor, Delivery, Record, Route, Run))

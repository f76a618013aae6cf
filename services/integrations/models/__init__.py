"""The tables of the integrations service, a file per noun."""

from services.integrations.models.attempt import Attempt
from services.integrations.models.base import Base
from services.integrations.models.binding import Binding
from services.integrations.models.conflict import Conflict
from services.integrations.models.connection import Connection
from services.integrations.models.credential import Credential
from services.integrations.models.cursor import Cursor
from services.integrations.models.delivery import Delivery
from services.integrations.models.finding import Finding
from services.integrations.models.hint import Hint
from services.integrations.models.ledger import LedgerRow
from services.integrations.models.listing import Listed, Suspected
from services.integrations.models.mapping import CodeTable, MappingVersion
from services.integrations.models.matching import MatchKey, MatchPair, MatchRemote
from services.integrations.models.own_write import OwnWrite
from services.integrations.models.receipt import Receipt
from services.integrations.models.record import Record
from services.integrations.models.route import Route
from services.integrations.models.run import Run
from services.integrations.models.sighting import Sighting

__all__ = ["Attempt", "Base", "Binding", "CodeTable", "Conflict", "Connection", "Credential", "Cursor", "Delivery",
           "Finding", "Hint", "LedgerRow", "Listed", "MappingVersion", "MatchKey", "MatchPair", "MatchRemote",
           "OwnWrite", "Receipt", "Record", "Route", "Run", "Sighting", "Suspected"]

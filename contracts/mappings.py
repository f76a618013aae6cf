"""Mappings as data: what a target is sent of a record, and the code tables that translate for it."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from contracts.routes import CodeCheck
from contracts.schema import ById, Entries, Identifier, PageRequest, Record, SensitiveObject, Text, Timestamp

LONGEST_MAPPING = 50_000
MOST_CODES = 5_000
MOST_PREVIEWED = 20


# --- mappings -----------------------------------------------------------------------------------------------------


class Mapping(Record):
    """One version of a route's mapping. It never changes; the one `in_force` decides what the target is sent."""

    id = Identifier(required=True)
    route_id = Identifier(required=True)
    number = fields.Integer(required=True, metadata={"description": "Of this route's, from 1."})
    in_force = fields.Boolean(required=True)
    text = fields.String(required=True, metadata={"description": "YAML, as it was saved."})
    created_by = fields.String(required=True)
    created_at = Timestamp(required=True)


class SaveMapping(ById):
    """Saves a mapping as the next version of a route; nothing changes until it is put in force.

    Refused with the place of everything that is wrong: `line`, `column`, and `at`, a pointer through the YAML.
    """

    text = fields.String(required=True, validate=validate.Length(min=1, max=LONGEST_MAPPING), metadata={
        "description": "YAML: `fields`, and under it for each field of the target an expression (JMESPath) over our "
                       "record, or `from`, `value`, `default`, `required`, `only_on_create`."})


class ListMappings(PageRequest):
    """Lists the versions of a route's mapping, newest first."""

    id = Identifier(required=True)


class OneMapping(ById):
    """One version of a route's mapping."""

    number = fields.Integer(required=True, validate=validate.Range(min=1))


class UseMapping(ById):
    """Puts a version of its mapping in force on a route, or none: records are sent as they are then.

    Refused if it was saved when less was refused and cannot be used any more, and on an active route with every code
    named (`gaps`) that records use and a code table lacks. Whole and without If-Match: the last one counts. What was
    sent before is not sent again.
    """

    number = fields.Integer(required=True, strict=True, allow_none=True, validate=validate.Range(min=1))


class MappingInUse(Record):
    """Which version of its mapping is in force on a route; null: records are sent as they are."""

    route_id = Identifier(required=True)
    number = fields.Integer(required=True, allow_none=True)
    code_check = fields.Nested(CodeCheck, required=True, allow_none=True, metadata={
        "description": "Null where nothing was looked up: the route is not active, or uses no codes."})


class PreviewMapping(OneMapping):
    """Shows what a target would be sent of real records, the newest or those named, and changes nothing."""

    limit = fields.Integer(load_default=5, validate=validate.Range(min=1, max=MOST_PREVIEWED))
    ids = fields.List(fields.String(validate=validate.Length(min=1, max=64)), load_default=list,
                      validate=validate.Length(max=MOST_PREVIEWED), metadata={"description": "Of our records."})


class PreviewProblem(Record):
    """Why a record could not be sent; `field` is the target field that cannot be filled."""

    field = fields.String(required=True)
    message = fields.String(required=True)


class Previewed(Record):
    """What a target would be sent of one record. Sensitive values are masked, for everybody."""

    local_id = fields.String(required=True)
    version = fields.Integer(required=True)
    bound = fields.Boolean(required=True, metadata={"description": "Whether it stands there already."})
    body = SensitiveObject(required=True, allow_none=True)
    changed = fields.List(fields.String(), required=True, metadata={
        "description": "Fields that the version in force would send otherwise, or that only one of the two sends."})
    problem = fields.Nested(PreviewProblem, required=True, allow_none=True)


class Preview(Record):
    """What a version of a mapping would send, beside what the one in force sends (`compared_with`; null: none is)."""

    route_id = Identifier(required=True)
    number = fields.Integer(required=True)
    compared_with = fields.Integer(required=True, allow_none=True)
    records = fields.List(fields.Nested(Previewed), required=True)


# --- code tables --------------------------------------------------------------------------------------------------


class Code(fields.Field[Any]):
    """A code of the target's: a text or a whole number."""

    default_error_messages = {  # noqa: RUF012 (marshmallow's way)
        "invalid": "Must be a text of 1 to 200 characters, or a whole number."
    }

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        text = str(value)
        if isinstance(value, bool) or not isinstance(value, str | int) or not (0 < len(text) <= 200
                                                                               and text.isprintable()):
            raise self.make_error("invalid")
        return value


class CodeTable(Record):
    """Our codes and theirs for one purpose. `setting` tells that the adapter looks them up itself: it is that setting
    of the connection, and is changed there, so that the next check asks the target for each."""

    connection_id = Identifier(required=True)
    name = fields.String(required=True)
    codes = fields.Dict(keys=fields.String(), required=True, metadata={"description": "Our code → theirs."})
    setting = fields.Boolean(required=True)


class ReplacedCodeTable(CodeTable):
    """A code table as it was put."""

    code_check = fields.Nested(CodeCheck, required=True, allow_none=True, metadata={
        "description": "Null where nothing was looked up: no code was taken out that an active route could use."})


class CodeTables(Record):
    """All code tables of a connection."""

    items = fields.List(fields.Nested(CodeTable), required=True)


class ListCodeTables(ById):
    """All code tables of a connection, in order of name."""


class OneCodeTable(ById):
    """One code table of a connection."""

    name = fields.String(required=True, validate=validate.Regexp(
        r"^[a-z][a-z0-9_]{0,59}\Z", error="Is no name of a table: small letters, digits and _."))


class PutCodeTable(OneCodeTable):
    """Replaces a code table: taxes, units, payment terms, warehouses, currencies, categories. Whole and without
    If-Match: the last one counts. What is sent from now on is translated by it; nothing is sent again."""

    codes = Entries(keys=Text(least=1, most=100), values=Code(), required=True,
                    validate=validate.Length(max=MOST_CODES))

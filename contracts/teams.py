"""Teams as data: the company's tree, in which a right of the depth `team` or `tree` reaches."""

from __future__ import annotations

from marshmallow import fields

from contracts.schema import ById, Identifier, PageRequest, Record, Request, Text, Timestamp


class Team(Record):
    """A group of people in the company's tree. `depth` `tree` reaches a team's records from every team above it."""

    id = Identifier(required=True)
    version = fields.Integer(required=True)
    name = fields.String(required=True)
    parent_id = Identifier(required=True, allow_none=True)
    created_at = Timestamp(required=True)
    updated_at = Timestamp(required=True)


class CreateTeam(Request):
    """Adds a team below `parent_id`, or at the top."""

    name = Text(required=True, least=1, most=120)
    parent_id = Identifier(load_default=None, allow_none=True)


class TeamChanges(Request):
    """What may be changed; moving a team takes everything below it along."""

    name = Text(least=1, most=120)
    parent_id = Identifier(allow_none=True)


class ChangeTeam(ById):
    """Changes a team that is still at `expected_version`."""

    expected_version = fields.Integer(required=True)
    changes = fields.Nested(TeamChanges, required=True)


class DeleteTeam(ById):
    """Removes a team that has no members and no teams below it."""

    expected_version = fields.Integer(required=True)


class ListTeams(PageRequest):
    """Lists teams, newest first."""

    parent_id = Identifier()

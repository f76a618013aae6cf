"""Accounts as data: which account at an external system is whose."""

from __future__ import annotations

from marshmallow import fields

from contracts.schema import ById, Identifier, Record, Text


class Account(Record):
    """Which account at the target is a user's: what is assigned to the user is brought there."""

    connection_id = Identifier(required=True)
    user_id = Identifier(required=True)
    account = fields.String(required=True)


class AccountOf(ById):
    """The account of one user."""

    user_id = Identifier(required=True)


class PutAccount(AccountOf):
    """Says which account is a user's. Whole and without If-Match: the last one counts. What waited for it goes on."""

    account = Text(required=True, least=1, most=200)


class DeleteAccount(AccountOf):
    """Forgets a user's account; what lies in it stays there."""

"""Tables of identity."""

from __future__ import annotations

from services.identity.models.base import Base
from services.identity.models.credentials import ApiKey, Session
from services.identity.models.roles import AccessVersion, Role
from services.identity.models.sign_ins import LoginEvent, SignInGuard
from services.identity.models.teams import Team, TeamMember, TeamPath
from services.identity.models.users import User, UserRole

__all__ = [
    "AccessVersion", "ApiKey", "Base", "LoginEvent", "Role", "Session", "SignInGuard", "Team", "TeamMember", "TeamPath",
    "User", "UserRole",
]  # fmt: skip

"""API keys and plans for Starlette and FastAPI: one middleware, exact limits, a key's whole life."""

from vc_auth.assembly import VCAuth
from vc_auth.errors import Denied, Forbidden, SettingsError, VCAuthError
from vc_auth.middleware import APIKeyMiddleware
from vc_auth.plans import ENTERPRISE, FREE, PRO, Plan
from vc_auth.rates import Decision
from vc_auth.records import KeyRecord, Project
from vc_auth.registry import NewKey, Registry
from vc_auth.responses import denied_handler
from vc_auth.settings import Settings
from vc_auth.users import APIKeyUser, requires

__all__ = [
    "ENTERPRISE",
    "FREE",
    "PRO",
    "APIKeyMiddleware",
    "APIKeyUser",
    "Decision",
    "Denied",
    "Forbidden",
    "KeyRecord",
    "NewKey",
    "Plan",
    "Project",
    "Registry",
    "Settings",
    "SettingsError",
    "VCAuth",
    "VCAuthError",
    "denied_handler",
    "requires",
]

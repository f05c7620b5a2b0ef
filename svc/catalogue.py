"""All twelve services of the platform, in the order in which people think of them."""

from importlib import import_module

from svc.mesh.contract import Contract
from svc.mesh.service import Service

NAMES = (
    "gateway",
    "identity",
    "sportsbook",
    "payment",
    "wallet",
    "marketing",
    "casino",
    "gaming",
    "notification",
    "reporting",
    "localization",
    "scheduler",
)
"""Every service folder; a house test compares this list with the tree."""


def contract(name: str) -> Contract:
    """Return the contract of a service, importing nothing but that."""
    found = getattr(import_module(f"svc.{name}.contract"), name.upper())
    if not isinstance(found, Contract):
        raise TypeError(f"svc.{name}.contract.{name.upper()} is not a Contract")
    return found


def service(name: str) -> Service:
    """Return the service object of a name: its contract, what it hears and calls, its handlers."""
    found = getattr(import_module(f"svc.{name}.service"), name)
    if not isinstance(found, Service):
        raise TypeError(f"svc.{name}.service.{name} is not a Service")
    return found


def contracts() -> list[Contract]:
    """Return all contracts."""
    return [contract(name) for name in NAMES]


def services() -> list[Service]:
    """Return all services; this imports everything."""
    return [service(name) for name in NAMES]

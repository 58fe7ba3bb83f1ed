"""Imports what the conversion of a session needs, once for all processes of a batch."""

from .. import conversion, interfaces, products
from ..verify import registry

__all__ = ["CHECKS", "INTERFACES", "conversion", "products"]

INTERFACES = interfaces.interface_list
CHECKS = list(registry.load_checks())

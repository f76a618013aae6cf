"""Tables of the sales service."""

from services.sales.models.base import Base
from services.sales.models.customer_ref import CustomerRef
from services.sales.models.order import Order, OrderLine
from services.sales.models.product import Product
from services.sales.models.product_source import ProductSource
from services.sales.models.reservation import Reservation

__all__ = ["Base", "CustomerRef", "Order", "OrderLine", "Product", "ProductSource", "Reservation"]

"""Tables of the sales service."""

from services.sales.models.base import Base
from services.sales.models.customer_ref import CustomerRef
from services.sales.models.order import Order, OrderLine
from services.sales.models.order_source import OrderSource
from services.sales.models.product import Product
from services.sales.models.product_source import ProductSource
from services.sales.models.reservation import Reservation
from services.sales.models.shipment import Shipment, ShipmentLine

__all__ = ["Base", "CustomerRef", "Order", "OrderLine", "OrderSource", "Product", "ProductSource", "Reservation",
           "Shipment", "ShipmentLine"]

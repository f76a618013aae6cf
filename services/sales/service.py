"""The door of the sales service."""

from __future__ import annotations

from chassis.entrypoints import Call, Heard, Service, exposes, hears
from chassis.paging import Page
from chassis.snapshot import SnapshotSource
from contracts import customers, integrations
from contracts import sales as contract
from services.sales import models
from services.sales.operations import customer_refs as customer_ref_operations
from services.sales.operations import orders as order_operations
from services.sales.operations import products as product_operations
from services.sales.operations import shipments as shipment_operations
from services.sales.queries import orders as order_queries
from services.sales.queries import products as product_queries
from services.sales.settings import SalesSettings


class SalesService(Service):
    """Answers for products and orders; follows customers, the ERP's products and what it ships."""

    name = contract.SERVICE
    snapshots = (SnapshotSource(contract.ORDER_SNAPSHOT, order_queries.snapshot),)

    @exposes(contract.LIST_PRODUCTS)
    def list_products(self, call: Call) -> Page:
        """List products."""
        return product_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.GET_PRODUCT)
    def get_product(self, call: Call) -> models.Product:
        """Read a product."""
        return product_queries.get(call.session, call.request["id"])

    @exposes(contract.CREATE_ORDER, again=order_queries.get, unmasked=order_queries.unmasked)
    def create_order(self, call: Call) -> models.Order:
        """Draft an order."""
        return order_operations.create(call.session, call.request, call.subject)

    @exposes(contract.GET_ORDER, unmasked=order_queries.unmasked)
    def get_order(self, call: Call) -> models.Order:
        """Read an order."""
        return order_queries.get(call.session, call.request["id"], call.subject)

    @exposes(contract.LIST_ORDERS)
    def list_orders(self, call: Call) -> Page:
        """List orders."""
        return order_queries.listed(call.session, call.request, call.subject, call.runtime.codec)

    @exposes(contract.CHANGE_ORDER, again=order_queries.get, unmasked=order_queries.unmasked)
    def change_order(self, call: Call) -> models.Order:
        """Change a draft order."""
        return order_operations.change(call.session, call.request, call.subject)

    @exposes(contract.CONFIRM_ORDER, again=order_queries.get, unmasked=order_queries.unmasked)
    def confirm_order(self, call: Call) -> models.Order:
        """Confirm an order."""
        return order_operations.confirm(call.session, call.request, call.subject)

    @exposes(contract.CANCEL_ORDER, again=order_queries.get, unmasked=order_queries.unmasked)
    def cancel_order(self, call: Call) -> models.Order:
        """Cancel an order."""
        return order_operations.cancel(call.session, call.request, call.subject)

    @hears(customers.CUSTOMER_CREATED)
    def customer_created(self, event: Heard) -> None:
        """Follow a new customer."""
        _follow_customer(event)

    @hears(customers.CUSTOMER_UPDATED)
    def customer_updated(self, event: Heard) -> None:
        """Follow a changed customer."""
        _follow_customer(event)

    @hears(customers.CUSTOMER_SNAPSHOT)
    def customer_retold(self, event: Heard) -> None:
        """Follow a customer that was announced again."""
        _follow_customer(event)

    @hears(integrations.EXTERNAL_CHANGED)
    def external_changed(self, event: Heard) -> None:
        """Follow a product of the ERP, and what it makes of an order; what else a target owns is not ours."""
        if event.data["entity"] in _FOLLOWED:
            _FOLLOWED[event.data["entity"]](event.session, event.data, event.envelope.entityversion)


_FOLLOWED = {"product": product_operations.follow, "order": shipment_operations.follow}


def _follow_customer(event: Heard) -> None:
    customer_ref_operations.follow(event.session, event.envelope.subject, event.envelope.entityversion, event.data)


SERVICE, SETTINGS, BASE = SalesService, SalesSettings, models.Base

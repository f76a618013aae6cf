"""`/products`: what can be sold, with its stock. The ERP is where they are kept; here they are read."""

from contracts import sales
from gateway.route import Route

ROUTES = (
    Route("GET", "/products", sales.LIST_PRODUCTS),
    Route("GET", "/products/{id}", sales.GET_PRODUCT),
)

"""Sales: what can be sold, and what has been.

Owns products (fed by the ERP), orders and the stock that confirmed orders have reserved. Says `order.confirmed`,
`order.cancelled`, `order.fulfilled`, `order.snapshot`, `stock.updated`, `external.refused`. Listens to customers
(`customer.created`, `customer.updated`, `customer.snapshot`) for its small copy of them, and to integrations
(`external.changed`) for products, their stock, and what the ERP ships of orders.
"""

"""Sales: what can be sold, and what has been.

Owns products (fed by the ERP), orders and the stock that confirmed orders have reserved. Says `order.confirmed`,
`order.cancelled`, `order.snapshot`, `stock.updated`. Listens to customers (`customer.created`, `customer.updated`,
`customer.snapshot`) for its small copy of them, and to integrations (`external.changed`) for products and their stock.
"""

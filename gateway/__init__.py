"""The only HTTP door of the hub and the only caller of remote procedures.

It owns no records. It reads a request with every limit on, finds out who asks, turns HTTP into one operation of the
contracts and its answer into HTTP. What it serves is a table of routes (`gateway/routes`), and the OpenAPI document is
made from the same table.
"""

"""What is said between services: operations, events, records and errors, as plain data.

Nothing here performs I/O, and nothing here knows who is listening. A service, the gateway's OpenAPI document and the
contract tests all read the same tables, so none of them can drift from the others.
"""

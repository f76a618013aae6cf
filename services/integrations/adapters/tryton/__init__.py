"""Tryton, the ERP: customers and orders go there, products and stock come back. See README.md."""

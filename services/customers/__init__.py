"""Customers: who the company deals with, and the people there.

Owns customers and contacts and every change made to them. Says `customer.created`, `customer.updated`,
`customer.snapshot`, `contact.created`, `contact.updated`. Listens to nobody.
"""

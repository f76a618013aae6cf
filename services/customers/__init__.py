"""Customers: who the company deals with, the people there, and what is to be done and was done about them.

Owns customers and contacts with their consent, tasks and activities, and every change made to them. Says
`customer.created`, `customer.updated`, `customer.snapshot`, `contact.created`, `contact.updated`, `contact.snapshot`,
`consent.changed`, `task.created`, `task.updated`, `task.completed`, `task.reopened`, `task.cancelled`, `task.deleted`,
`task.snapshot`, `activity.logged`, `external.refused`. Listens to integrations (`external.changed`) for tasks and
consent, and to tickets (`task.requested`) for tasks that are wanted.
"""

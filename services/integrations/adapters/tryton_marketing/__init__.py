"""The mailing lists of a Tryton: who is subscribed, and who no longer wants to be."""

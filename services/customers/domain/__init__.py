"""Pure rules of customers: what is allowed, and how a value is brought into its one form."""

"""Floor programs: the least code that does a piece of the product's work with the same durability."""

"""Ghost, a newsletter: people with their consent go there, and what they say there comes back."""

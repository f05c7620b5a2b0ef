"""What the wallet stands beside: the same work in the designs that it replaces."""

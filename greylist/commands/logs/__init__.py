"""The mail log: its attempts, and how a policy would have answered them."""

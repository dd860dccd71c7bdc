"""The mail log: its attempts, and what a policy would have made of them."""

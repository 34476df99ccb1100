"""The locks, and the tools that make, install and describe them."""

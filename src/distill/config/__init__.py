"""The configuration: which keys exist, whether their values are allowed, and objects made from them."""

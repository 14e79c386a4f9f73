"""Arrays and callables: linear algebra, minimisers, sums in a fixed order. Nothing here knows crystallography."""

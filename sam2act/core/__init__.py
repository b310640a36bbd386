"""What every room may use: types at the borders, task sets, public files, the C loader."""

"""Networks: they know no probability."""

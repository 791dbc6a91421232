"""One module per way of writing conversations: `matches(row)` for detection, `read(row)` to the neutral form."""

"""Block devices, nodes and formats. Knows no format."""

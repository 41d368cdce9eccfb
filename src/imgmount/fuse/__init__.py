"""The FUSE front end: a protocol adapter over the vfs. Knows no format."""

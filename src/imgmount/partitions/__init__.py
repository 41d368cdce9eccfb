"""Formats that divide a device."""

"""What FAT and exFAT share: cluster chains, times, serial numbers."""

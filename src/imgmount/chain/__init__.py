"""From a path to volumes: file, containers, partition table, file systems, parents of layered disks."""

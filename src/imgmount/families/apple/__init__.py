"""What Apple formats share: resource forks, type and creator codes, dates and names of the Mac."""

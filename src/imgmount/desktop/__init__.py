"""What a desktop sees of imgmount: types of files, menu entries, windows, messages; how they get there."""

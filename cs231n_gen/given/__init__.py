"""What students are given: data, toys, networks, training, metrics and the judge of images."""

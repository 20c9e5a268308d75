"""From the source to what students get."""

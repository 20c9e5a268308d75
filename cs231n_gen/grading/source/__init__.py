"""The source tree: solution markers, exercises, chapters, and what is wrong with them."""

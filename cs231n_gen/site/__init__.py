"""The reader's site: chapters executed, figures alive, from the file system and offline."""

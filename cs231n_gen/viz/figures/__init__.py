"""The moving figures, one class a file; each names its ES module in `js/figures`."""

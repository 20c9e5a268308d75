"""How code is checked: the student object tests speak to, expectations, the runner, diagnosis,
reports."""

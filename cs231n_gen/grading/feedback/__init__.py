"""What students and the instructor get back."""

"""What runs in processes of its own; each gets a job as JSON and writes lines of JSON."""

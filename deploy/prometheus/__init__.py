"""What Prometheus reads, and what makes the same of it for a cluster's operator."""

"""Prompts and answers of base requests, kept where policy says so and readable by nobody here."""

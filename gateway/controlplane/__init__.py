"""The admin API and its functions: one module an aggregate, used by HTTP and command line alike."""

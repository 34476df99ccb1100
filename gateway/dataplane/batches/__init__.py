"""Files and batches: `/v1/files`, `/v1/batches`, and the worker that runs what they hold."""

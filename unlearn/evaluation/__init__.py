"""Evaluation that one can trust: lm-evaluation-harness's prompts, the real engine, signed answers.

    suites → tasks (items, digests, the harness's definitions)
    measure → engines → scoring (token ids in, log-likelihoods out, kept as answers) → report → page

It owns what is asked and how; `models.report` owns what is written down, `models.gate` judges it.
"""

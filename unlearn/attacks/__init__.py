"""Attacks: what brings unlearned knowledge back, each measured on the candidate and on its base.

The scores before and after go through the evaluation's own path, so that they compare with any
other report. Which of them block a release is the policy's to say (`models.depth`).
"""

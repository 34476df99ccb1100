"""The methods that the WMDP paper compares with: LLMU, SCRUB and SSD.

They take the plain path: the whole model in fp32, every tensor trained, and (LLMU, SCRUB) a frozen
second copy as the teacher. They are here so that the comparison can be run again side by side.
`recipe` is importable without torch; `fit` holds the work.
"""

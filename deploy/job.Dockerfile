# The offline job: imports, unlearns, evaluates, gates and promotes. It has vLLM, since a checkpoint is
# measured as it will be served, and pip, with which `airlock unlearn fetch` gets the demo's base model.
# Targets: `cpu` (torch's and vLLM's CPU builds from the hash locks) and `gpu` (vLLM's own image).
# Build it from the repository's root.
FROM python:3.11.14-slim-bookworm AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY deploy/build.txt deploy/build.txt
RUN pip install --no-deps --require-hashes --requirement deploy/build.txt
COPY pyproject.toml README.md LICENSE ./
# The command's table of verbs is all that the job needs of the gateway.
COPY gateway/__init__.py gateway/__init__.py
COPY gateway/cli/__init__.py gateway/cli/__init__.py
COPY models models
COPY unlearn unlearn
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11.14-slim-bookworm AS cpu-build
# The locks name the CPU build of torch, which PyTorch publishes on an index of its own.
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/unlearn.txt requirements/engine.txt /tmp/
# One resolution made both locks: what both name has one version.
RUN python -m venv /opt/airlock \
    && /opt/airlock/bin/pip install --no-deps --require-hashes --requirement /tmp/engine.txt \
    && /opt/airlock/bin/pip install --no-deps --require-hashes --requirement /tmp/unlearn.txt
COPY --from=wheel /wheels /wheels
RUN /opt/airlock/bin/pip install --no-deps /wheels/*.whl \
    && /opt/airlock/bin/airlock unlearn --help > /dev/null

FROM python:3.11.14-slim-bookworm AS cpu
# vLLM's CPU build links to libnuma, which the slim image lacks.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1=2.0.16-1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 airlock \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin airlock \
    && install --directory --owner=10001 --group=10001 --mode=0750 \
        /var/lib/airlock /var/lib/airlock/store /var/lib/airlock/trust /var/lib/airlock/cache
COPY --from=cpu-build /opt/airlock /opt/airlock
ENV PATH=/opt/airlock/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRLOCK_HOME=/var/lib/airlock
RUN airlock evaluate --help > /dev/null && python -c "import lm_eval, vllm"
USER 10001:10001
# It serves nothing, so there is nothing to ask for its health.
HEALTHCHECK NONE
ENTRYPOINT ["airlock"]
CMD ["checkpoints", "list"]

FROM vllm/vllm-openai:v0.32.0 AS gpu
# What the job needs and vLLM's image may lack; everything else, torch before all, is the image's own.
COPY deploy/job-gpu.txt /tmp/job-gpu.txt
COPY --from=wheel /wheels /wheels
RUN python3 -m pip install --no-cache-dir --break-system-packages --no-deps --require-hashes --requirement /tmp/job-gpu.txt \
    && python3 -m pip install --no-cache-dir --break-system-packages --no-deps /wheels/*.whl \
    && rm -rf /wheels /tmp/job-gpu.txt \
    && groupadd --gid 10001 airlock \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin airlock \
    && install --directory --owner=10001 --group=10001 --mode=0750 \
        /var/lib/airlock /var/lib/airlock/store /var/lib/airlock/trust /var/lib/airlock/cache \
    && airlock evaluate --help > /dev/null
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRLOCK_HOME=/var/lib/airlock
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["airlock"]
CMD ["checkpoints", "list"]

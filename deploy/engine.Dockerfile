# An engine: vLLM and the launcher that hashes a checkpoint before every start.
# Targets: `cpu` (vLLM's CPU build from the hash lock) and `gpu` (vLLM's own image).
# Build it from the repository's root.
FROM python:3.11.14-slim-bookworm AS wheel
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY deploy/build.txt deploy/build.txt
RUN pip install --no-deps --require-hashes --requirement deploy/build.txt
COPY pyproject.toml README.md LICENSE ./
# The command's table of verbs is all that an engine needs of the gateway.
COPY gateway/__init__.py gateway/__init__.py
COPY gateway/cli/__init__.py gateway/cli/__init__.py
COPY models models
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11.14-slim-bookworm AS cpu-build
# The lock names the CPU build of torch, which PyTorch publishes on an index of its own.
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY requirements/engine.txt /tmp/engine.txt
RUN python -m venv /opt/airlock \
    && /opt/airlock/bin/pip install --no-deps --require-hashes --requirement /tmp/engine.txt
COPY --from=wheel /wheels /wheels
RUN /opt/airlock/bin/pip install --no-deps /wheels/*.whl \
    && /opt/airlock/bin/python -c "import torch; assert torch.version.cuda is None, 'not the CPU build'"

FROM python:3.11.14-slim-bookworm AS cpu
# vLLM's CPU build links to libnuma, which the slim image lacks.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libnuma1=2.0.16-1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 airlock \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin airlock \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/airlock /var/lib/airlock/store \
        /var/lib/airlock/trust /var/lib/airlock/seen
COPY --from=cpu-build /opt/airlock /opt/airlock
# vLLM writes caches below its home; the root is read-only and /tmp is memory.
ENV PATH=/opt/airlock/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRLOCK_HOME=/var/lib/airlock
RUN airlock engine --help > /dev/null && python -c "import vllm"
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=300s --retries=4 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["airlock"]
CMD ["engine", "--help"]

FROM vllm/vllm-openai:v0.32.0 AS gpu
# What the launcher needs and vLLM's image may lack; everything else is the image's own.
COPY deploy/engine-gpu.txt /tmp/engine-gpu.txt
COPY --from=wheel /wheels /wheels
RUN python3 -m pip install --no-cache-dir --break-system-packages --no-deps --require-hashes --requirement /tmp/engine-gpu.txt \
    && python3 -m pip install --no-cache-dir --break-system-packages --no-deps /wheels/*.whl \
    && rm -rf /wheels /tmp/engine-gpu.txt \
    && groupadd --gid 10001 airlock \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin airlock \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/airlock /var/lib/airlock/store \
        /var/lib/airlock/trust /var/lib/airlock/seen \
    && airlock engine --help > /dev/null
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRLOCK_HOME=/var/lib/airlock
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=900s --retries=4 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["airlock"]
CMD ["engine", "--help"]

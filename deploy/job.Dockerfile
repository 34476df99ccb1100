# The offline job: imports, unlearns, evaluates, gates and promotes. Build it from the repository's
# root. It keeps pip, with which `airlock unlearn fetch` gets the demo's base model.
FROM python:3.11.14-slim-bookworm AS build
# The lock names the CPU build of torch, which PyTorch publishes on an index of its own.
ARG PIP_EXTRA_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements/unlearn.txt requirements/unlearn.txt
COPY deploy/build.txt deploy/build.txt
RUN python -m venv /opt/airlock \
    && /opt/airlock/bin/pip install --no-deps --require-hashes --requirement requirements/unlearn.txt \
    && pip install --no-deps --require-hashes --requirement deploy/build.txt
COPY pyproject.toml README.md LICENSE ./
# The command's table of verbs is all that the job needs of the gateway.
COPY gateway/__init__.py gateway/__init__.py
COPY gateway/cli/__init__.py gateway/cli/__init__.py
COPY models models
COPY unlearn unlearn
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/airlock/bin/pip install --no-deps /wheels/*.whl \
    && /opt/airlock/bin/airlock unlearn --help > /dev/null

FROM python:3.11.14-slim-bookworm
RUN groupadd --gid 10001 airlock \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin airlock \
    && install --directory --owner=10001 --group=10001 --mode=0750 \
        /var/lib/airlock /var/lib/airlock/store /var/lib/airlock/trust /var/lib/airlock/cache
COPY --from=build /opt/airlock /opt/airlock
ENV PATH=/opt/airlock/bin:$PATH \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRLOCK_HOME=/var/lib/airlock
USER 10001:10001
# It serves nothing, so there is nothing to ask for its health.
HEALTHCHECK NONE
ENTRYPOINT ["airlock"]
CMD ["checkpoints", "list"]

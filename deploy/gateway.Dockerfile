# The gateway: the online plane and the registry, no torch. Build it from the repository's root.
FROM python:3.11.14-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements/gateway.txt requirements/tracing.txt requirements/
COPY deploy/build.txt deploy/build.txt
# Anything but nothing adds OpenTelemetry, for traces (docs/monitoring.md).
ARG TRACING=
# The locks are complete, so pip neither resolves nor adds anything.
RUN python -m venv /opt/airlock \
    && /opt/airlock/bin/pip install --no-deps --require-hashes --requirement requirements/gateway.txt \
    && if [ -n "$TRACING" ]; then \
        /opt/airlock/bin/pip install --no-deps --require-hashes --requirement requirements/tracing.txt; \
    fi \
    && pip install --no-deps --require-hashes --requirement deploy/build.txt
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY models models
COPY migrations migrations
RUN pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/airlock/bin/pip install --no-deps /wheels/*.whl \
    && /opt/airlock/bin/airlock serve --help > /dev/null \
    && /opt/airlock/bin/pip uninstall --yes pip setuptools

# For backups: pg_dump refuses a server that is newer than itself, so it comes with the server's own
# image, and Airlock with it, in an environment of that image's Python.
FROM postgres:17.6-bookworm AS backup
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3=3.11.2-1+b1 python3-venv=3.11.2-1+b1 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 airlock \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin airlock \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/airlock /var/lib/airlock/store /var/lib/airlock/trust /var/lib/airlock/files /backups
WORKDIR /src
COPY requirements/gateway.txt requirements/gateway.txt
COPY --from=build /wheels /wheels
RUN python3 -m venv /opt/airlock \
    && /opt/airlock/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement requirements/gateway.txt \
    && /opt/airlock/bin/pip install --no-cache-dir --no-deps /wheels/*.whl \
    && /opt/airlock/bin/airlock backup --help > /dev/null \
    && rm -rf /src /wheels
ENV PATH=/opt/airlock/bin:/usr/lib/postgresql/17/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRLOCK_HOME=/var/lib/airlock
USER 10001:10001
HEALTHCHECK NONE
ENTRYPOINT ["airlock"]
CMD ["backup", "--help"]

FROM python:3.11.14-slim-bookworm
# One number for every Airlock image: they share the store's volume. The witness has another, since
# it must not be in the gateways' hands.
RUN groupadd --gid 10001 airlock \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin airlock \
    && install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/airlock /var/lib/airlock/store /var/lib/airlock/trust /var/lib/airlock/files \
    && install --directory --owner=10002 --group=10002 --mode=0700 /var/lib/witness \
    && pip uninstall --yes --root-user-action=ignore setuptools wheel pip
COPY --from=build /opt/airlock /opt/airlock
ENV PATH=/opt/airlock/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRLOCK_HOME=/var/lib/airlock \
    AIRLOCK_HOST=0.0.0.0 \
    AIRLOCK_PORT=8000
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=2)"]
ENTRYPOINT ["airlock"]
CMD ["serve"]

# syntax=docker/dockerfile:1
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/failoverd
COPY requirements.lock ./
RUN /opt/failoverd/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY daemon daemon
COPY machines machines
COPY adapters adapters
COPY events events
COPY systemd systemd
COPY monitoring monitoring
RUN /opt/failoverd/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="failoverd" \
      org.opencontainers.image.description="Keeps rented GPU machines serving" \
      org.opencontainers.image.licenses="Apache-2.0"
# For the simulated machines of `failoverd sim`, which keep snapshots as real ones do.
RUN apt-get update \
 && apt-get install -y --no-install-recommends restic rsync \
 && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --home-dir /var/lib/failoverd --create-home failoverd
COPY --from=build /opt/failoverd /opt/failoverd
# Nothing outside of /var/lib/failoverd and /tmp is written: the rest may be read-only.
ENV PATH=/opt/failoverd/bin:$PATH FAILOVERD_STATE_DIR=/var/lib/failoverd PYTHONDONTWRITEBYTECODE=1 PYTHONFAULTHANDLER=1
USER 10001
VOLUME /var/lib/failoverd
EXPOSE 8787
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8787/livez', timeout=3)"]
ENTRYPOINT ["failoverd"]
CMD ["run"]

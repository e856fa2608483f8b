FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY requirements.lock pyproject.toml README.md LICENSE ./
COPY daemon daemon
COPY machines machines
COPY adapters adapters
COPY events events
RUN python -m venv /opt/failoverd \
 && /opt/failoverd/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
 && /opt/failoverd/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /var/lib/failoverd --create-home failoverd
COPY --from=build /opt/failoverd /opt/failoverd
ENV PATH=/opt/failoverd/bin:$PATH FAILOVERD_STATE_DIR=/var/lib/failoverd
USER failoverd
VOLUME /var/lib/failoverd
STOPSIGNAL SIGTERM
ENTRYPOINT ["failoverd"]
CMD ["run"]

# syntax=docker/dockerfile:1
# One image for nodes and for the command line; the version of Python is the newest supported.
ARG PYTHON=3.13

FROM python:${PYTHON}-slim AS build
WORKDIR /build
RUN python -m venv /opt/synaxis
ENV PATH=/opt/synaxis/bin:$PATH
# The requirements change less often than the source, so they make a layer of their own.
COPY requirements.lock ./
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps . \
 && python -m compileall -q /opt/synaxis/lib

FROM python:${PYTHON}-slim
# A fixed id, so that volumes can be prepared for it. The data directory must belong to it.
RUN useradd --uid 7400 --user-group --no-create-home --shell /usr/sbin/nologin synaxis \
 && install -d -o synaxis -g synaxis -m 0700 /var/lib/synaxis
COPY --from=build /opt/synaxis /opt/synaxis
ENV PATH=/opt/synaxis/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SYNAXIS_DATA_DIR=/var/lib/synaxis \
    SYNAXIS_LOG_FORMAT=json
USER synaxis
WORKDIR /var/lib/synaxis
VOLUME /var/lib/synaxis
EXPOSE 7400 7401
STOPSIGNAL SIGTERM
# Only the standard library is imported, so the probe costs little.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["synaxis", "health", "--quiet"]
ENTRYPOINT ["synaxis"]
CMD ["node", "run"]

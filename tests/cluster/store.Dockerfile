# For the cluster's tests, an S3 server in memory, moto of the lock, where a bucket would stand, and Redis.
FROM python:3.11.15-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends redis-server && rm -rf /var/lib/apt/lists/*
COPY locks/cpu.txt /build/
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --root-user-action=ignore --constraint /build/cpu.txt "moto[server,s3]"
USER 65532:65532
ENV HOME=/tmp PYTHONUNBUFFERED=1
CMD ["moto_server", "-H", "0.0.0.0", "-p", "9000"]

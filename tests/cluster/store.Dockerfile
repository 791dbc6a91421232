# An S3 server in memory for the cluster's tests, moto of the lock: it stands where a bucket would.
FROM python:3.11.15-slim-bookworm
COPY locks/cpu.txt /build/
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --root-user-action=ignore --constraint /build/cpu.txt "moto[server,s3]"
USER 65532:65532
ENV HOME=/tmp PYTHONUNBUFFERED=1
CMD ["moto_server", "-H", "0.0.0.0", "-p", "9000"]

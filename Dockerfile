# syntax=docker/dockerfile:1
#
# The gateway alone in an empty image: one static binary, the CA certificates, no shell, a user without rights.
#
#   docker build --platform linux/amd64 --build-arg REVISION=$(git rev-parse HEAD) -t portcullis .
#   docker run --rm --read-only --cap-drop ALL -p 8080:8080 -v "$PWD/my.yaml:/etc/portcullis/portcullis.yaml:ro" portcullis

# Compiler and C library decide the bytes of the binary, so they are pinned by digest. A new version: change the tag,
# then the digest to what `docker buildx imagetools inspect` prints for it.
FROM rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082 AS build
# zlib-ng is built with CMake; neither tool leaves a trace in the binary.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates cmake make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src

# Dependencies, in a layer of their own that lasts as long as the manifests.
COPY Cargo.toml Cargo.lock ./
COPY deploy/build-static deploy/
RUN deploy/build-static dependencies

# The gateway. Its front page is part of the crate, the pages are compiled in.
COPY ARCHITECTURE.md askama.toml ./
COPY src src
COPY benches benches
RUN deploy/build-static /root-of-image/portcullis \
    && install -D -m 0644 /etc/ssl/certs/ca-certificates.crt /root-of-image/etc/ssl/certs/ca-certificates.crt \
    && install -d -m 0755 /root-of-image/etc/portcullis \
    && install -d -m 0700 /state/wal

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Portcullis" \
      org.opencontainers.image.description="An identity-aware gateway for private services on Cloud Run" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /root-of-image/ /
COPY --from=build --chown=65532:65532 /state/ /var/lib/portcullis/
# The configuration is mounted there. Nothing is written anywhere, but the log to /var/lib/portcullis/wal where the
# configuration keeps it on disk: mount a volume that this user may write to.
ENV PORTCULLIS_CONFIG=/etc/portcullis/portcullis.yaml
USER 65532:65532
EXPOSE 8080
# New connections end, requests under way get eight seconds.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/portcullis"]
CMD ["run"]

# The gateway and the sample backend, in one image: the command chooses which.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
# Without pip: the environment is complete as built, and pip outside installs into it.
RUN python -m venv --without-pip /opt/venv
WORKDIR /src
COPY requirements.lock requirements-build.lock ./
RUN pip install --require-hashes -r requirements-build.lock \
    && pip --python /opt/venv/bin/python install --no-compile --require-hashes -r requirements.lock
# What the data plane is compiled with stays behind in this stage.
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY pyproject.toml setup.py README.md LICENSE routes.yaml ./
COPY gateway gateway
# Byte code is made here, as the root file system is read-only where it runs. It is never checked
# against its source, which cannot change there either.
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/venv/bin/python install --no-compile --no-deps --no-index dist/*.whl \
    && python -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib

FROM python:${PYTHON_VERSION}-slim
LABEL org.opencontainers.image.title="gateway" \
      org.opencontainers.image.description="An API gateway and reverse proxy made for streaming upstreams" \
      org.opencontainers.image.licenses="MIT"
# /keys is for a volume that the sample backend shares its public key through: a new volume takes
# its owner from here.
RUN groupadd --system --gid 10001 gateway \
    && useradd --system --uid 10001 --gid gateway --no-create-home --home-dir /nonexistent \
       --shell /usr/sbin/nologin gateway \
    && install -d -o gateway -g gateway /keys \
    && install -d /etc/gateway
COPY --from=build /opt/venv /opt/venv
COPY deploy/welcome.yaml /etc/gateway/routes.yaml
# Whatever `gateway serve --help` names can be set when it runs, such as GATEWAY_WORKERS=auto.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GATEWAY_ROUTES=/etc/gateway/routes.yaml
# Python's image brings its standard library without byte code. Importing what we use, once and
# while it can be written, makes it for that and no more.
RUN ["python", "-c", "import gateway.cli, gateway.healthcheck"]
RUN ["gateway", "--version"]
# By number, so that Kubernetes' runAsNonRoot can tell that it is not root.
USER 10001:10001
EXPOSE 8080 9090
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["python", "-m", "gateway.healthcheck"]
ENTRYPOINT ["gateway"]
CMD ["serve"]

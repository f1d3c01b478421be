# The server in a container: `docker build -t reynard-diffusion .`, for a GPU with `--build-arg VARIANT=cuda`.
# docs/deployment.md says how to run it.
ARG PYTHON=3.13
ARG VARIANT=cpu

FROM python:${PYTHON}-slim-trixie AS environment
ENV PATH=/opt/venv/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv

# The same build of torch as in the Makefile. PyPI's brings CUDA's libraries along, which a CPU has no use for.
FROM environment AS torch-cpu
ARG TORCH=2.13.0
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu "torch==$TORCH"

FROM environment AS torch-cuda
ARG TORCH=2.13.0
RUN pip install --no-cache-dir "torch==$TORCH"

# What others have written first: it changes less often than what is ours.
# hadolint ignore=DL3006
FROM torch-${VARIANT} AS packages
WORKDIR /build
COPY backend/requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY backend/pyproject.toml backend/requirements-client.txt backend/README.md backend/LICENSE ./
COPY backend/reynard_diffusion reynard_diffusion
COPY backend/reynard_diffusion_server reynard_diffusion_server
COPY backend/app app
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ./reynard_diffusion ".[otel]"

FROM python:${PYTHON}-slim-trixie
LABEL org.opencontainers.image.title="Reynard Diffusion" \
      org.opencontainers.image.description="Serves diffusion language models over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 reynard \
    && useradd --uid 10001 --gid reynard --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin reynard \
    && install --directory --owner reynard --group reynard /var/cache/reynard-diffusion
COPY --from=packages /opt/venv /opt/venv
WORKDIR /srv/reynard-diffusion
COPY LICENSE backend/main.py ./

# In a container 127.0.0.1 would be reached by nobody. Whoever publishes the port opens the server to a network: set
# DIFFUSION_API_KEYS and DIFFUSION_ADMIN_TOKEN then. Checkpoints that are downloaded stay in the volume.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    DIFFUSION_HOST=0.0.0.0 \
    DIFFUSION_PORT=8000 \
    HF_HOME=/var/cache/reynard-diffusion
VOLUME /var/cache/reynard-diffusion
EXPOSE 8000
USER 10001:10001

# Alive, not ready: a server that loads a model needs no restart. No library here that would ask a proxy.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["python", "-c", "\
import http.client, os, sys; \
server = http.client.HTTPConnection('127.0.0.1', int(os.environ['DIFFUSION_PORT']), timeout=4); \
server.request('GET', '/health/live'); \
sys.exit(server.getresponse().status != 200)"]

# It ends within 10 seconds of the signal: `docker stop --timeout 15`.
STOPSIGNAL SIGTERM
CMD ["python", "main.py"]

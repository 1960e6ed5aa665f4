# tips_med in a container, on the processor. Research use only, not a medical device.
#   docker build --tag tips-med .
#   docker run --rm --network none --user "$(id -u):$(id -g)" --volume "$PWD:/data" \
#     tips-med ground /data/chest_ct "nodule" --out /data/answers
# The network is used while it is built, and never while it runs.

FROM python:3.12-slim-bookworm AS wheel
WORKDIR /source
COPY constraints.txt ./
RUN python -m pip install --no-cache-dir --constraint constraints.txt build hatchling
COPY pyproject.toml README.md LICENSE ./
COPY tips_med tips_med
COPY pipelines pipelines
COPY radiology_configs radiology_configs
RUN python -m build --wheel --no-isolation --outdir /wheels

FROM python:3.12-slim-bookworm AS packages
# With CUDA the image is 4 GB larger: give --build-arg TORCH_INDEX, the address of PyTorch's builds for the processor alone.
ARG TORCH_INDEX=
ARG EXTRAS=codecs,figures,pacs
WORKDIR /source
RUN python -m venv /opt/tips-med
COPY constraints.txt ./
RUN /opt/tips-med/bin/pip install --no-cache-dir --no-deps --constraint constraints.txt \
      ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} torch
COPY --from=wheel /wheels /wheels
RUN for wheel in /wheels/*.whl; do \
      /opt/tips-med/bin/pip install --no-cache-dir --constraint constraints.txt "${wheel}[${EXTRAS}]"; \
    done

FROM python:3.12-slim-bookworm AS run
LABEL org.opencontainers.image.title="tips_med" \
      org.opencontainers.image.description="Where is it? Research use only, not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --home-dir /var/lib/tips-med --create-home --shell /usr/sbin/nologin tips-med
COPY --from=packages /opt/tips-med /opt/tips-med
ENV PATH="/opt/tips-med/bin:${PATH}" \
    HF_HUB_OFFLINE=1 \
    MPLCONFIGDIR=/tmp/matplotlib \
    XDG_CACHE_HOME=/tmp/cache \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/tips-med
HEALTHCHECK --interval=5m --timeout=60s --start-period=60s CMD ["tips-med", "doctor", "--skip-speed", "--quiet"]
ENTRYPOINT ["tips-med"]
CMD ["doctor"]

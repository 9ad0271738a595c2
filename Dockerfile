# syntax=docker/dockerfile:1
# Proofsheet on an NVIDIA GPU; needs a driver for CUDA 13 (580 or newer) and the NVIDIA container toolkit.
#
#     docker build -t proofsheet .
#     docker run --rm --gpus all -p 127.0.0.1:8000:8000 -v proofsheet-weights:/weights -e PROOFSHEET_INSECURE=true proofsheet
#
# PROOFSHEET_COMPILE needs a compiler in it: --build-arg PACKAGES="gcc libc6-dev python3-dev"
#
# `base` is the CUDA runtime alone. cuBLAS, cuDNN, cuFFT and the rest come with torch's wheels, at the versions torch
# was built with, and onnxruntime-gpu shares them; the larger images would only store them a second time.
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04

# hadolint global ignore=DL3008,SC2086
FROM ${CUDA_IMAGE} AS python
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/*

# ---- the dependencies: one large layer, made again only when the pins change
FROM python AS dependencies
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY pyproject.toml constraints.txt ./
# With no package beside it the project installs as an empty shell, and leaves what it depends on.
# insightface and its like ask for the CPU build of onnxruntime, which hides the GPU build: none may slip in. Nor may
# opencv-python, whose cv2 lies over the headless one's and wants a display's libraries. So insightface comes alone.
RUN --mount=type=cache,target=/root/.cache/pip \
    touch README.md LICENSE \
    && python3 -m venv /opt/proofsheet \
    && /opt/proofsheet/bin/pip install --disable-pip-version-check -c constraints.txt '.[gpu,insightface]' \
    && /opt/proofsheet/bin/pip install --disable-pip-version-check -c constraints.txt --no-deps insightface \
    && /opt/proofsheet/bin/pip uninstall -y proofsheet \
    && ! /opt/proofsheet/bin/pip show --quiet onnxruntime opencv-python 2>/dev/null \
    && /opt/proofsheet/bin/python -c 'import torch, onnxruntime, xformers, insightface.model_zoo; assert torch.version.cuda, "not a CUDA build"; assert "CUDAExecutionProvider" in onnxruntime.get_available_providers()'

# ---- the project itself, as a wheel
FROM dependencies AS wheel
COPY LICENSE README.md ./
COPY models models
COPY service service
RUN /opt/proofsheet/bin/pip wheel --disable-pip-version-check --no-deps --wheel-dir /wheel .

# ---- what runs
FROM python
ARG PACKAGES=""
RUN test -z "$PACKAGES" || { apt-get update \
    && apt-get install -y --no-install-recommends $PACKAGES \
    && rm -rf /var/lib/apt/lists/*; }
LABEL org.opencontainers.image.title="Proofsheet" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin proofsheet \
    && install --directory --owner=proofsheet --group=proofsheet /weights
COPY --from=dependencies /opt/proofsheet /opt/proofsheet
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    /opt/proofsheet/bin/pip install --disable-pip-version-check --no-cache-dir --no-deps /wheel/*.whl

# Workers are offline by themselves; `proofsheet fetch` alone uses the network. Nothing is written but the weights volume
# and caches of compiled kernels in /tmp.
ENV PATH=/opt/proofsheet/bin:$PATH \
    LD_LIBRARY_PATH=/opt/proofsheet/lib/python3.12/site-packages/nvidia/cu13/lib:/opt/proofsheet/lib/python3.12/site-packages/nvidia/cudnn/lib \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HF_HUB_DISABLE_TELEMETRY=1 \
    ORT_DISABLE_TELEMETRY=1 \
    PROOFSHEET_WEIGHTS_DIR=/weights
VOLUME ["/weights"]
USER 10001:10001
WORKDIR /tmp
EXPOSE 8000

# Liveness alone: a worker that loads or restarts is no reason to kill the front. Send traffic by /readyz.
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=2)"]
# SIGTERM: refuses new work, finishes what runs, exits. Give it time: docker stop --time 40.
STOPSIGNAL SIGTERM
# Without API keys (PROOFSHEET_KEYS) it refuses to start here, unless PROOFSHEET_INSECURE=true says that it may be open.
CMD ["proofsheet", "serve", "--host", "0.0.0.0"]

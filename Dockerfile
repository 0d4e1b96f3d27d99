# syntax=docker/dockerfile:1
# docker build --tag segnet .                           a folder of images or videos in, segmented ones out
# docker build --tag segnet-service --target service .  predictions over HTTP
# docs/how-to/container.md says how to run them.

ARG PYTHON=3.12.11-slim-bookworm

# PyTorch for processors: a fifth of the size of the build with CUDA.
FROM python:${PYTHON} AS build
WORKDIR /source
COPY constraints.txt ./
RUN python -m venv /opt/segnet \
    && /opt/segnet/bin/pip install --no-cache-dir --no-compile -c constraints.txt \
        --index-url https://download.pytorch.org/whl/cpu torch
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN /opt/segnet/bin/pip install --no-cache-dir --no-compile -c constraints.txt '.[torch,video]'

FROM build AS build-service
RUN /opt/segnet/bin/pip install --no-cache-dir --no-compile -c constraints.txt '.[serve]'

# What both images share: the interpreter, a user without rights, no write access to the program.
FROM python:${PYTHON} AS base
ENV PATH=/opt/segnet/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SEGNET_CACHE=/tmp/segnet
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin segnet
WORKDIR /tmp

FROM base AS service
COPY --from=build-service /opt/segnet /opt/segnet
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["segnet", "serve", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS predict
COPY --from=build /opt/segnet /opt/segnet
COPY container/segment_folder.py /opt/segment_folder.py
USER 10001
VOLUME ["/in", "/out"]
ENTRYPOINT ["python", "/opt/segment_folder.py"]
CMD ["--model", "segnet_light"]

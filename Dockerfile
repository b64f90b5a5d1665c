# Dependencies are installed where there is a package cache and copied to where there is none.
FROM python:3.11-slim AS build
WORKDIR /app
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /venv
COPY requirements.runtime.lock ./
RUN /venv/bin/pip install --no-deps --require-hashes -r requirements.runtime.lock
COPY pyproject.toml ./
COPY api api
COPY domain domain
COPY notifications notifications
RUN /venv/bin/pip install --no-deps --no-build-isolation --no-index .

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home --home-dir /nonexistent wallet
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER wallet
WORKDIR /tmp
EXPOSE 8000
# The worker has no port: compose.yaml turns the check off for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/live', timeout=2)"]
ENTRYPOINT ["wallet"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000", "--no-worker"]

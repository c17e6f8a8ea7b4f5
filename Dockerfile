# Serves a bundle on a page, on the CPU and without rights of root:
#   docker build -t aisles .
#   docker run --rm -p 7860:7860 -v "$PWD/run/bundles/two-stage:/bundle:ro" aisles
# With the run's test images for the slider: -v "$PWD/run:/run-folder:ro" aisles /bundle --run /run-folder
FROM python:3.11-slim

RUN useradd --create-home --uid 1000 visitor
WORKDIR /app
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY api api
COPY data_prep data_prep
COPY experiments experiments
COPY hierarchy hierarchy
COPY models models
RUN pip install --no-cache-dir '.[demo]'

USER visitor
ENV AISLES_CACHE=/tmp/aisles GRADIO_ANALYTICS_ENABLED=False TF_CPP_MIN_LOG_LEVEL=3
WORKDIR /home/visitor
EXPOSE 7860
ENTRYPOINT ["aisles", "demo", "--host", "0.0.0.0"]
CMD ["/bundle"]

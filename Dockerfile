# The service as a container, on the image of the Functions host: for Kubernetes (infra/kubernetes) and for compose.yaml.
#   docker build --build-arg PYTHON_VERSION=3.13 --tag tntcore .
ARG PYTHON_VERSION=3.13

# The package is built in here: nothing has to be there before but this folder.
FROM python:${PYTHON_VERSION}-slim AS package
ARG PYTHON_VERSION
WORKDIR /source
COPY uv.lock ./
RUN pip install --quiet --no-cache-dir "uv==$(sed -n '/^name = "uv"$/{n;s/version = "\(.*\)"/\1/p;}' uv.lock)"
COPY . .
RUN python -m devtools.package --python ${PYTHON_VERSION}

FROM mcr.microsoft.com/azure-functions/python:4-python${PYTHON_VERSION}

# A port above 1024 needs no root.
ENV AzureWebJobsScriptRoot=/home/site/wwwroot \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    ASPNETCORE_URLS=http://+:8080 \
    HOME=/tmp

# For master keys in a file, which are for development.
RUN install --directory --owner=1654 --group=1654 /data
COPY --chmod=755 infra/kubernetes/drain.sh /usr/local/bin/drain
COPY --from=package /source/dist/package /home/site/wwwroot

EXPOSE 8080
# The host ends in order at SIGINT, and ignores SIGTERM. It has to get the signal itself, not a shell that waits for it.
STOPSIGNAL SIGINT
CMD ["/azure-functions-host/Microsoft.Azure.WebJobs.Script.WebHost"]
USER 1654:1654

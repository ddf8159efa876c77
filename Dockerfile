# The service as a container, for those on Kubernetes (infra/kubernetes.yaml). Build it after `make package`:
#   docker build --build-arg PYTHON_VERSION=3.13 -t tntcore .
# The package has to be built for the same Python (PACKAGE_PYTHON).
ARG PYTHON_VERSION=3.13
FROM mcr.microsoft.com/azure-functions/python:4-python${PYTHON_VERSION}

# Above 1024, which needs no root.
ENV AzureWebJobsScriptRoot=/home/site/wwwroot \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    ASPNETCORE_URLS=http://+:8080 \
    HOME=/tmp

COPY dist/package /home/site/wwwroot

EXPOSE 8080
USER 1654:1654

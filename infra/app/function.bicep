// The app: one Flex Consumption plan. HTTP scales as one; each queue function scales by the length of its own queue.
param name string
param location string
param tags object
param pythonVersion string
param maximumInstances int
param instanceMemory int
param readyInstances int
param subnetId string
param identityId string
param clientId string
param storageName string
param packageContainer string
param keyUri string
param insightsConnectionString string
param publicUrl string
param settings object

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' existing = {
  name: storageName
}

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: 'plan-${name}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    tier: 'FlexConsumption'
    name: 'FC1'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    siteConfig: {
      minTlsVersion: '1.2'
    }
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstances
        instanceMemoryMB: instanceMemory
        alwaysReady: readyInstances == 0 ? [] : [
          {
            name: 'http'
            instanceCount: readyInstances
          }
        ]
        triggers: {
          // As host.json: HTTP calls that one instance takes at once, each with the largest body.
          http: { perInstanceConcurrency: 24 }
        }
      }
    }
  }
}

resource scm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

resource ftp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

// An empty setting is the service's own default: docs/operating.md lists them.
resource appSettings 'Microsoft.Web/sites/config@2024-04-01' = {
  parent: app
  name: 'appsettings'
  properties: union({
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: clientId
    AzureWebJobsStorage__blobServiceUri: storage.properties.primaryEndpoints.blob
    AzureWebJobsStorage__queueServiceUri: storage.properties.primaryEndpoints.queue
    AzureWebJobsStorage__tableServiceUri: storage.properties.primaryEndpoints.table
    APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${clientId};Authorization=AAD'
    // Bytes of a body that the host takes: the largest packed message. It holds each one several times.
    FUNCTIONS_REQUEST_BODY_SIZE_LIMIT: '9961472'
    AzureWebJobsDisableHomepage: 'true'
    TNT_PUBLIC_URL: publicUrl
    TNT_KEY_VAULT_KEY: keyUri
    TNT_EGRESS_ALLOW: ''
    TNT_CORS_ORIGINS: ''
    TNT_ALLOW_HTTP: 'false'
    TNT_KEY_IN_QUERY: 'false'
    TNT_ANONCREDS_REGISTRIES: ''
    TNT_CONTEXTS: ''
    TNT_KEY_RATE: ''
    TNT_ADDRESS_RATE: ''
    TNT_SENDER_RATE: ''
    TNT_TENANT_RATE: ''
    TNT_TENANT_BYTES: ''
    TNT_FORWARDED_HOPS: ''
    TNT_METRIC_TENANTS: ''
    // The app's own traces and metrics go where the connection string above says, beside the host's.
    TNT_LOG_FORMAT: 'json'
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio'
    OTEL_TRACES_SAMPLER_ARG: '0.05'
    APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL: 'true'
    APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED: 'true'
  }, settings)
}

output name string = app.name

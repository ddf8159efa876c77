// The app: one Flex Consumption plan. HTTP scales as one; each queue function scales by the length of its own queue.
param name string
param location string
param tags object
param pythonVersion string
param maximumInstances int
param instanceMemory int
param readyInstances int
param readyQueueInstances int
param zoneRedundant bool
param rollingUpdates bool
param networkName string
param identityName string
param storageName string
param packageContainer string
param vaultName string
param keyName string
param insightsName string
param workspaceName string
param publicUrl string
@description('Certificates of its own. Only an app that is made with this can have them.')
param ownCertificates bool
@description('The Front Door that alone may call the app. Empty: everybody may.')
param edgeName string
@description('From where operators may call. Empty: from anywhere.')
param operatorAddresses array
param settings object

var storageUri = {
  blob: 'https://${storageName}.blob.${environment().suffixes.storage}/'
  queue: 'https://${storageName}.queue.${environment().suffixes.storage}/'
  table: 'https://${storageName}.table.${environment().suffixes.storage}/'
}
var keyUri = 'https://${vaultName}${environment().suffixes.keyvaultDns}/keys/${keyName}'

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  name: identityName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource edge 'Microsoft.Cdn/profiles@2025-06-01' existing = if (!empty(edgeName)) {
  name: edgeName
}

// HTTP is a group of its own. What moves messages on is ready, too: inbound opens them, relay calls webhooks.
var readyQueues = readyQueueInstances == 0 ? [] : [
  { name: 'function:inbound', instanceCount: readyQueueInstances }
  { name: 'function:exchange', instanceCount: readyQueueInstances }
  { name: 'function:outbound', instanceCount: readyQueueInstances }
  { name: 'function:relay', instanceCount: readyQueueInstances }
]
var ready = concat(readyInstances == 0 ? [] : [{ name: 'http', instanceCount: readyInstances }], readyQueues)

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
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
    zoneRedundant: zoneRedundant
  }
}

// Rolling updates and certificates of an app's own are in no typed version of the API yet, so they are said only where
// they are wanted.
resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: union({
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: empty(networkName) ? null : resourceId('Microsoft.Network/virtualNetworks/subnets', networkName, 'app')
    siteConfig: {
      minTlsVersion: '1.2'
      ipSecurityRestrictionsDefaultAction: empty(edgeName) ? 'Allow' : 'Deny'
      ipSecurityRestrictions: empty(edgeName) ? [] : [
        {
          name: 'front-door'
          description: 'Calls that came through our Front Door, and not through somebody else\'s'
          priority: 100
          action: 'Allow'
          tag: 'ServiceTag'
          ipAddress: 'AzureFrontDoor.Backend'
          headers: {
            'x-azure-fdid': [edge!.properties.frontDoorId]
          }
        }
      ]
      // What deploys comes from elsewhere, and with a token.
      scmIpSecurityRestrictionsUseMain: false
    }
    functionAppConfig: union({
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storageUri.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
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
        alwaysReady: ready
        triggers: {
          // As host.json: HTTP calls that one instance takes at once, each with the largest body.
          http: { perInstanceConcurrency: 24 }
        }
      }
    }, rollingUpdates ? { siteUpdateStrategy: { type: 'RollingUpdate' } } : {})
  }, ownCertificates ? { siteScopedCertificatesEnabled: true } : {})
}

resource scm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

resource ftp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

// An empty setting is the service's own default: docs/operating.md lists them.
resource appSettings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'appsettings'
  properties: union({
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: identity.properties.clientId
    AzureWebJobsStorage__blobServiceUri: storageUri.blob
    AzureWebJobsStorage__queueServiceUri: storageUri.queue
    AzureWebJobsStorage__tableServiceUri: storageUri.table
    APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
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
    TNT_DID_METHODS: ''
    TNT_UNIVERSAL_RESOLVER: ''
    TNT_CONTEXTS: ''
    TNT_KEY_RATE: ''
    TNT_ADDRESS_RATE: ''
    TNT_SENDER_RATE: ''
    TNT_TENANT_RATE: ''
    TNT_TENANT_BYTES: ''
    // The platform's own front end, and Front Door before it.
    TNT_FORWARDED_HOPS: empty(edgeName) ? '1' : '2'
    TNT_WRONG_KEY_RATE: ''
    TNT_AUDIT_DAYS: ''
    TNT_OPERATOR_NETWORKS: join(operatorAddresses, ',')
    TNT_FIRST_OPERATOR_ONCE: 'false'
    TNT_OPERATOR_ISSUER: ''
    TNT_OPERATOR_AUDIENCE: ''
    TNT_METRIC_TENANTS: ''
    // The app's own traces and metrics go where the connection string above says, beside the host's.
    TNT_LOG_FORMAT: 'json'
    OTEL_TRACES_SAMPLER: 'parentbased_traceidratio'
    OTEL_TRACES_SAMPLER_ARG: '0.05'
    // Instances come and go, and one that is killed takes with it what it has not sent.
    OTEL_BSP_SCHEDULE_DELAY: '1000'
    OTEL_METRIC_EXPORT_INTERVAL: '30000'
    APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL: 'true'
    APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED: 'true'
  }, settings)
}

// What the host says before it has Application Insights, and when it does not start at all.
resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'host'
  scope: app
  properties: {
    workspaceId: workspace.id
    logs: [{ category: 'FunctionAppLogs', enabled: true }]
  }
}

output verificationId string = app.properties.customDomainVerificationId

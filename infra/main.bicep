// Everything that the service needs in one resource group. `azd up` deploys it; docs/deploy.md says what each parameter
// costs and allows.
targetScope = 'subscription'

@minLength(1)
@maxLength(40)
@description('Names the deployment; every resource is tagged with it.')
param environmentName string

@minLength(1)
@description('The region. It has to have Flex Consumption: az functionapp list-flexconsumption-locations')
@metadata({ azd: { type: 'location' } })
param location string

@allowed(['3.11', '3.12', '3.13'])
param pythonVersion string = '3.13'

@description('Where the outside world reaches the service. Empty: the host name that Azure gives. It cannot change later.')
param publicUrl string = ''

@description('Storage and key vault are reached through private endpoints alone.')
param privateNetwork bool = false

@minValue(1)
@maxValue(1000)
@description('Instances of each function that scales by itself.')
param maximumInstances int = 40

@allowed([2048, 4096])
@description('MB; 2048 is one vCPU. 512 would not hold the host, the worker and one large body.')
param instanceMemory int = 2048

@minValue(0)
@description('Instances that are always there for HTTP, without which a first call waits for one to start.')
param readyInstances int = 0

@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param storageSku string = 'Standard_ZRS'

@allowed(['standard', 'premium'])
@description('premium keeps the master key in an HSM.')
param vaultSku string = 'standard'

@description('Who is told by the alerts. Empty: they are only shown in the portal.')
param alertEmail string = ''

@description('Settings of the service that differ from their defaults, by name: TNT_TENANT_RATE and so on.')
param settings object = {}

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var appName = 'func-${token}'
var url = empty(publicUrl) ? 'https://${appName}.azurewebsites.net' : publicUrl

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'app/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-${token}'
    location: location
    tags: tags
  }
}

module monitoring 'app/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    name: token
    location: location
    tags: tags
  }
}

module network 'app/network.bicep' = if (privateNetwork) {
  name: 'network'
  scope: group
  params: {
    name: 'vnet-${token}'
    location: location
    tags: tags
  }
}

module storage 'app/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'st${token}'
    location: location
    tags: tags
    sku: storageSku
    private: privateNetwork
  }
}

module vault 'app/vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: 'kv-${token}'
    location: location
    tags: tags
    sku: vaultSku
    private: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

module endpoints 'app/endpoints.bicep' = if (privateNetwork) {
  name: 'endpoints'
  scope: group
  params: {
    location: location
    tags: tags
    networkName: 'vnet-${token}'
    subnetId: privateNetwork ? network!.outputs.endpointsSubnetId : ''
    storageName: storage.outputs.name
    vaultName: vault.outputs.name
  }
}

module access 'app/access.bicep' = {
  name: 'access'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    storageName: storage.outputs.name
    vaultName: vault.outputs.name
    keyName: vault.outputs.keyName
    insightsName: monitoring.outputs.insightsName
  }
}

module app 'app/function.bicep' = {
  name: 'function'
  scope: group
  params: {
    name: appName
    location: location
    tags: union(tags, { 'azd-service-name': 'api' })
    pythonVersion: pythonVersion
    maximumInstances: maximumInstances
    instanceMemory: instanceMemory
    readyInstances: readyInstances
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
    identityId: identity.outputs.id
    clientId: identity.outputs.clientId
    storageName: storage.outputs.name
    packageContainer: storage.outputs.packageContainer
    keyUri: vault.outputs.keyUri
    insightsConnectionString: monitoring.outputs.connectionString
    publicUrl: url
    settings: settings
  }
  // It starts with the first deployment, and then has to be let in.
  dependsOn: [
    access
    endpoints
  ]
}

module alerts 'app/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
    email: alertEmail
  }
}

output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output SERVICE_API_NAME string = app.outputs.name
output PUBLIC_URL string = url
output KEY_VAULT_NAME string = vault.outputs.name

// Everything that the service needs in one resource group. `azd up` deploys it; docs/deploy.md says what each parameter
// costs and allows, and main.parameters.json how `azd env set` reaches it.
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

@description('Where the outside world reaches the service. Empty: the own domain, or the host name that Azure gives. It cannot change later.')
param publicUrl string = ''

@description('A domain of your own, such as didcomm.example.com. Empty: the host name that Azure gives.')
param customDomain string = ''

@allowed(['prepare', 'bind', 'secure'])
@description('Without Front Door an own domain takes three deployments: prepare (the DNS records are put out), bind, secure (the certificate).')
param domainStep string = 'prepare'

@allowed(['none', 'Standard_AzureFrontDoor', 'Premium_AzureFrontDoor'])
@description('A Front Door with a firewall before the app, which then takes calls from nowhere else. It needs customDomain.')
param frontDoor string = 'none'

@description('Networks from which operators may call, such as ["203.0.113.0/24"]. Empty: everybody may try.')
param operatorAddresses array = []

@minValue(10)
@maxValue(1000000)
@description('Calls a minute that Front Door lets through from one address.')
param edgeRequestsPerMinute int = 120000

@allowed(['Log', 'Block'])
@description('What the managed rules of a Premium Front Door do. Messages are texts that such rules may take for attacks: look at the log first.')
param edgeManagedRules string = 'Log'

@description('Storage and key vault are reached through private endpoints alone.')
param privateNetwork bool = false

@description('Partners and webhooks are called from one address, that of a NAT gateway, which allow-lists can name.')
param fixedOutbound bool = false

@minValue(1)
@maxValue(1000)
@description('Instances of each function that scales by itself.')
param maximumInstances int = 40

@allowed([2048, 4096])
@description('MB; 2048 is one vCPU. 512 would not hold the host, the worker and one large body.')
param instanceMemory int = 2048

@minValue(0)
@maxValue(20)
@description('Instances that are always there for HTTP, without which a first call waits for one to start.')
param readyInstances int = 0

@minValue(0)
@maxValue(20)
@description('Instances that are always there for each of the three queues, without which a first message waits for one to start.')
param readyQueueInstances int = 0

@description('Instances are spread over the zones of the region, where it has them. Always-ready ones are then two or more of a kind.')
param zoneRedundant bool = false

@description('A preview: deployments replace instances one after the other instead of all at once. See docs/upgrading.md.')
param rollingUpdates bool = false

@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param storageSku string = 'Standard_ZRS'

@description('Log each operation on storage: several for every message. For as long as something is looked for.')
param storageLogs bool = false

@allowed(['standard', 'premium'])
@description('premium keeps the master key in an HSM.')
param vaultSku string = 'standard'

@description('The vault was deleted with the rest, and is had back with its key: for the first deployment after azd down.')
param recoverVault bool = false

@description('Object id of who runs the service: a user, a group or a principal. Empty: nobody gets roles on the data.')
param operatorPrincipalId string = ''

@allowed(['User', 'Group', 'ServicePrincipal'])
param operatorPrincipalType string = 'User'

@allowed(['read', 'manage'])
@description('read: look at tables, queues, blobs and the vault. manage: restore backups and rotate the master key as well.')
param operatorLevel string = 'read'

@description('Who is told by the alerts. Empty: they are only shown in the portal.')
param alertEmail string = ''

@description('Call the service every five minutes from three places, and look at its certificate.')
param availabilityTests bool = true

@minValue(1)
@description('GB of logs a day; beyond, nothing is logged until the next.')
param logCapGb int = 10

@minValue(0)
@description('Of which 80 % spent, or more expected, is told; in the currency of the bill. 0: no budget.')
param monthlyBudget int = 0

@description('The first of the month in which the budget begins, such as 2026-12-01. It cannot change later.')
param budgetStart string = ''

@description('Settings of the service that differ from their defaults, by name: {"TNT_TENANT_RATE": "60000"} and so on.')
param settings object = {}

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = { 'azd-env-name': environmentName }
var appName = 'func-${token}'
var appHost = '${appName}.azurewebsites.net'
var identityName = 'id-${token}'
var workspaceName = 'log-${token}'
var insightsName = 'appi-${token}'
var networkName = 'vnet-${token}'
var storageName = 'st${token}'
var vaultName = 'kv-${token}'
var keyName = 'master'
var packageContainer = 'packages'
var edgeName = 'afd-${token}'

var behindEdge = frontDoor != 'none'
var inNetwork = privateNetwork || fixedOutbound
var url = !empty(publicUrl) ? publicUrl : 'https://${empty(customDomain) ? appHost : customDomain}'

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identity 'app/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: identityName
    location: location
    tags: tags
  }
}

module monitoring 'app/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: workspaceName
    insightsName: insightsName
    location: location
    tags: tags
    dailyCapGb: logCapGb
  }
}

module network 'app/network.bicep' = if (inNetwork) {
  name: 'network'
  scope: group
  params: {
    name: networkName
    location: location
    tags: tags
    fixedOutbound: fixedOutbound
  }
}

module storage 'app/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: storageName
    location: location
    tags: tags
    sku: storageSku
    private: privateNetwork
    packageContainer: packageContainer
    workspaceName: workspaceName
    logs: storageLogs
  }
  dependsOn: [
    monitoring
  ]
}

module vault 'app/vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: vaultName
    location: location
    tags: tags
    sku: vaultSku
    private: privateNetwork
    keyName: keyName
    workspaceName: workspaceName
    recover: recoverVault
  }
  dependsOn: [
    monitoring
  ]
}

module endpoints 'app/endpoints.bicep' = if (privateNetwork) {
  name: 'endpoints'
  scope: group
  params: {
    location: location
    tags: tags
    networkName: networkName
    storageName: storageName
    vaultName: vaultName
  }
  dependsOn: [
    network
    storage
    vault
  ]
}

module access 'app/access.bicep' = {
  name: 'access'
  scope: group
  params: {
    identityName: identityName
    storageName: storageName
    vaultName: vaultName
    keyName: keyName
    insightsName: insightsName
  }
  dependsOn: [
    identity
    monitoring
    storage
    vault
  ]
}

module operators 'app/operators.bicep' = if (!empty(operatorPrincipalId)) {
  name: 'operators'
  scope: group
  params: {
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
    level: operatorLevel
    storageName: storageName
    vaultName: vaultName
  }
  dependsOn: [
    storage
    vault
  ]
}

module edge 'app/edge.bicep' = if (behindEdge) {
  name: 'edge'
  scope: group
  params: {
    name: edgeName
    wafName: 'waf${token}'
    tags: tags
    sku: frontDoor
    domain: customDomain
    appHost: appHost
    operatorAddresses: operatorAddresses
    requestsPerMinute: edgeRequestsPerMinute
    managedRules: edgeManagedRules
    workspaceName: workspaceName
  }
  dependsOn: [
    monitoring
  ]
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
    readyQueueInstances: readyQueueInstances
    zoneRedundant: zoneRedundant
    rollingUpdates: rollingUpdates
    networkName: inNetwork ? networkName : ''
    identityName: identityName
    storageName: storageName
    packageContainer: packageContainer
    vaultName: vaultName
    keyName: keyName
    insightsName: insightsName
    workspaceName: workspaceName
    publicUrl: url
    ownCertificates: !empty(customDomain) && !behindEdge
    edgeName: behindEdge ? edgeName : ''
    operatorAddresses: operatorAddresses
    settings: settings
  }
  // It starts with the first deployment, and then has to be let in.
  dependsOn: [
    access
    edge
    endpoints
    network
  ]
}

module domain 'app/domain.bicep' = if (!empty(customDomain) && !behindEdge && domainStep != 'prepare') {
  name: 'domain'
  scope: group
  params: {
    appName: appName
    location: location
    domain: customDomain
    secured: domainStep == 'secure'
  }
  dependsOn: [
    app
  ]
}

module alerts 'app/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    location: location
    tags: tags
    workspaceName: workspaceName
    storageName: storageName
    vaultName: vaultName
    email: alertEmail
  }
  dependsOn: [
    monitoring
    storage
    vault
  ]
}

module availability 'app/availability.bicep' = if (availabilityTests) {
  name: 'availability'
  scope: group
  params: {
    location: location
    tags: tags
    insightsName: insightsName
    url: url
    told: !empty(alertEmail)
  }
  dependsOn: [
    alerts
  ]
}

module workbook 'app/workbook.bicep' = {
  name: 'workbook'
  scope: group
  params: {
    location: location
    tags: tags
    workspaceName: workspaceName
  }
  dependsOn: [
    monitoring
  ]
}

module budget 'app/budget.bicep' = if (monthlyBudget > 0) {
  name: 'budget'
  scope: group
  params: {
    amount: monthlyBudget
    startDate: budgetStart
    email: alertEmail
  }
}

output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output SERVICE_API_NAME string = appName
output PUBLIC_URL string = url
output KEY_VAULT_NAME string = vaultName
// What the DNS records of an own domain, and partners' allow-lists, have to say: docs/deploy.md.
output DOMAIN_CNAME string = behindEdge ? edge!.outputs.host : appHost
output DOMAIN_TXT string = behindEdge ? edge!.outputs.validationToken : app.outputs.verificationId
output OUTBOUND_ADDRESS string = fixedOutbound ? network!.outputs.outboundAddress : ''

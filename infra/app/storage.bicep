// State, work, large bodies, and the deployment package. Opened by identities alone: there are no account keys to leak.
param name string
param location string
param tags object
param sku string
param private bool
param packageContainer string
param workspaceName string
param logs bool

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource account 'Microsoft.Storage/storageAccounts@2025-08-01' = {
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: { name: sku }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: private ? 'Disabled' : 'Enabled'
    networkAcls: {
      defaultAction: private ? 'Deny' : 'Allow'
      bypass: 'None'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: account
  name: 'default'
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-08-01' = [for container in [packageContainer, 'bodies', 'envelopes']: {
  parent: blobs
  name: container
}]

resource queueService 'Microsoft.Storage/storageAccounts/queueServices@2025-08-01' = {
  parent: account
  name: 'default'
}

// The service makes what it misses; a trigger whose queue is there from the beginning does not log errors meanwhile.
resource queues 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-08-01' = [for queue in ['inbound', 'exchange', 'outbound', 'relay', 'inbound-poison', 'exchange-poison', 'outbound-poison', 'relay-poison']: {
  parent: queueService
  name: queue
}]

resource tableService 'Microsoft.Storage/storageAccounts/tableServices@2025-08-01' = {
  parent: account
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-08-01' = [for table in ['records', 'lookups', 'due', 'poisoned']: {
  parent: tableService
  name: table
}]

// Each operation is a line, and a message is several operations: for as long as something is looked for.
resource blobLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (logs) {
  name: 'operations'
  scope: blobs
  properties: {
    workspaceId: workspace.id
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

resource queueLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (logs) {
  name: 'operations'
  scope: queueService
  properties: {
    workspaceId: workspace.id
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

resource tableLogs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (logs) {
  name: 'operations'
  scope: tableService
  properties: {
    workspaceId: workspace.id
    logs: [{ categoryGroup: 'allLogs', enabled: true }]
  }
}

// Counts of operations, by what became of them: little, and always there.
resource metrics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'metrics'
  scope: account
  properties: {
    workspaceId: workspace.id
    metrics: [{ category: 'Transaction', enabled: true }]
  }
}

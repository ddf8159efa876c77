// What somebody has to look at. Rules ask the logs, whose texts are the service's own, or the platform's metrics.
param location string
param tags object
param workspaceName string
param storageName string
param vaultName string
param email string

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource storage 'Microsoft.Storage/storageAccounts@2025-08-01' existing = {
  name: storageName
}

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: vaultName
}

resource told 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: 'operators'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'operators'
    enabled: true
    emailReceivers: [
      {
        name: 'operators'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

var rules = [
  {
    name: 'poison'
    description: 'A queue message was given up after all its attempts. GET /api/poison shows it, POST /api/poison/replay has it handled again.'
    severity: 1
    threshold: 0
    query: 'AppTraces | where Message has "a message of queue" and Message has "was given up"'
  }
  {
    name: 'poison-functions'
    description: 'A poison function fails: what was given up is not written down and stays in its queue.'
    severity: 0
    threshold: 0
    query: 'AppRequests | where Success == false and Name endswith "_poison"'
  }
  {
    name: 'deliveries'
    description: 'More deliveries than usual failed for good in a quarter of an hour: a network is out of reach, or an endpoint of many.'
    severity: 2
    threshold: 50
    query: 'AppTraces | where Message has "a delivery of queue" and Message has "failed for good"'
  }
  {
    name: 'sweep'
    description: 'The sweeper fails: what no redelivery reaches stays where it is.'
    severity: 1
    threshold: 1
    query: 'AppRequests | where Success == false and Name == "sweep"'
  }
  {
    name: 'http'
    description: 'Callers are answered 5xx. Storage or key vault may be out of reach: look at /api/health.'
    severity: 1
    threshold: 20
    query: 'AppRequests | where Name in ("didcomm", "first_operator", "web_api") and toint(ResultCode) >= 500'
  }
  {
    name: 'backlog'
    description: 'Messages waited for more than a quarter of an hour before a queue first took them up: instances are at their limit, or do not start.'
    severity: 1
    threshold: 0
    query: 'AppMetrics | where Name == "tnt.message.age" and Max > 900'
  }
  {
    name: 'log-cap'
    description: 'The workspace takes no more logs today, and the alerts that read them see nothing. Raise LOG_CAP_GB, or find what is so loud.'
    severity: 1
    threshold: 0
    query: '_LogOperation | where Category =~ "Ingestion" and Detail contains "OverQuota"'
  }
  {
    name: 'key-expiry'
    description: 'A key in the vault expires soon, or has expired: what it wraps cannot be opened then. Give it a later date, or rotate it.'
    severity: 1
    threshold: 0
    query: 'AZKVAuditLogs | where OperationName in ("KeyNearExpiryEventGridNotification", "KeyExpiredEventGridNotification")'
  }
]

resource alerts 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = [for rule in rules: {
  name: 'alert-${rule.name}'
  location: location
  tags: tags
  properties: {
    description: rule.description
    severity: rule.severity
    enabled: true
    scopes: [workspace.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      allOf: [
        {
          query: rule.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: rule.threshold
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: true
    // A new workspace has no table yet of what was never said, and the rule would be refused.
    skipQueryValidation: true
    actions: {
      actionGroups: empty(email) ? [] : [told.id]
    }
  }
}]

// Storage and vault say themselves when they are asked too often, without a line of log.
var metrics = [
  {
    name: 'storage-throttled'
    description: 'Storage put calls off, or did not answer in time: the account is at its limit, or a tenant is. Calls are tried again.'
    severity: 2
    scope: storage.id
    namespace: 'Microsoft.Storage/storageAccounts'
    metric: 'Transactions'
    aggregation: 'Total'
    threshold: 100
    dimension: 'ResponseType'
    values: ['ServerBusyError', 'ServerTimeoutError', 'ClientThrottlingError', 'ClientAccountRequestThrottlingError', 'ClientAccountBandwidthThrottlingError']
  }
  {
    name: 'vault-throttled'
    description: 'The key vault put calls off: more tenants are active at once than it unwraps keys for. Ask for a higher quota.'
    severity: 2
    scope: vault.id
    namespace: 'Microsoft.KeyVault/vaults'
    metric: 'ServiceApiResult'
    aggregation: 'Count'
    threshold: 20
    dimension: 'StatusCode'
    values: ['429']
  }
]

resource throttled 'Microsoft.Insights/metricAlerts@2026-01-01' = [for rule in metrics: {
  name: 'alert-${rule.name}'
  location: 'global'
  tags: tags
  properties: {
    description: rule.description
    severity: rule.severity
    enabled: true
    scopes: [rule.scope]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'throttled'
          metricNamespace: rule.namespace
          metricName: rule.metric
          timeAggregation: rule.aggregation
          operator: 'GreaterThan'
          threshold: rule.threshold
          dimensions: [
            {
              name: rule.dimension
              operator: 'Include'
              values: rule.values
            }
          ]
        }
      ]
    }
    autoMitigate: true
    actions: empty(email) ? [] : [
      { actionGroupId: told.id }
    ]
  }
}]

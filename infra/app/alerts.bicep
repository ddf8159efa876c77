// What somebody has to look at. Each rule asks the logs; the texts that they look for are the service's own.
param location string
param tags object
param workspaceId string
param email string

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
    query: 'AppRequests | where Name in ("didcomm", "poison", "principal", "web_api") and toint(ResultCode) >= 500'
  }
]

resource alerts 'Microsoft.Insights/scheduledQueryRules@2022-06-15' = [for rule in rules: {
  name: 'alert-${rule.name}'
  location: location
  tags: tags
  properties: {
    description: rule.description
    severity: rule.severity
    enabled: true
    scopes: [workspaceId]
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

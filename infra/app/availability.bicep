// The service as others see it: from three places, every five minutes, and how long its certificate is still good.
param location string
param tags object
param insightsName string
param url string
param told bool

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource operators 'Microsoft.Insights/actionGroups@2023-01-01' existing = if (told) {
  name: 'operators'
}

var tests = [
  {
    name: 'health'
    description: 'The service does not answer from two places or more, or says that its storage does not.'
    severity: 0
    seconds: 300
    places: [{ Id: 'emea-nl-ams-azr' }, { Id: 'us-va-ash-azr' }, { Id: 'apac-sg-sin-azr' }]
    failed: 2
    daysLeft: 1
  }
  {
    name: 'certificate'
    description: 'The certificate ends within two weeks. Azure renews its own well before that: look at the DNS records.'
    severity: 1
    seconds: 900
    places: [{ Id: 'emea-nl-ams-azr' }]
    failed: 1
    daysLeft: 14
  }
]

resource webTests 'Microsoft.Insights/webtests@2022-06-15' = [for test in tests: {
  name: 'test-${test.name}'
  location: location
  // By this tag it is shown with the rest.
  tags: union(tags, { 'hidden-link:${insights.id}': 'Resource' })
  kind: 'standard'
  properties: {
    SyntheticMonitorId: 'test-${test.name}'
    Name: 'test-${test.name}'
    Description: test.description
    Enabled: true
    Kind: 'standard'
    Frequency: test.seconds
    Timeout: 30
    RetryEnabled: true
    Locations: test.places
    Request: {
      RequestUrl: '${url}/api/health'
      HttpVerb: 'GET'
      ParseDependentRequests: false
      FollowRedirects: false
    }
    ValidationRules: {
      ExpectedHttpStatusCode: 200
      SSLCheck: true
      SSLCertRemainingLifetimeCheck: test.daysLeft
    }
  }
}]

resource alerts 'Microsoft.Insights/metricAlerts@2026-01-01' = [for (test, index) in tests: {
  name: 'alert-${test.name}'
  location: 'global'
  tags: tags
  properties: {
    description: test.description
    severity: test.severity
    enabled: true
    scopes: [webTests[index].id, insights.id]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.WebtestLocationAvailabilityCriteria'
      webTestId: webTests[index].id
      componentId: insights.id
      failedLocationCount: test.failed
    }
    autoMitigate: true
    actions: told ? [
      { actionGroupId: operators.id }
    ] : []
  }
}]
